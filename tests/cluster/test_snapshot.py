"""A snapshot is the project of the moment, is named after its content, and says which commit it is."""

import os
import subprocess
from pathlib import Path

import pytest

from wegeft.cluster import snapshot
from wegeft.errors import UserError
from wegeft.records.provenance import SNAPSHOT_FILE, snapshot_state


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A committed project with code, results and something ignored."""
    root = tmp_path / "project"
    for name in ("run.py", "src/wegeft/__init__.py", "results/records/a.json", "runs/b/adapter", "own/plugin.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / ".gitignore").write_text("/runs/\n")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "first")
    return root


def test_it_holds_the_code_and_what_git_says_of_it(project: Path, tmp_path: Path) -> None:
    taken = snapshot.take(project, tmp_path / "snapshots")
    files = {str(path.relative_to(taken)) for path in taken.rglob("*") if path.is_file()}
    assert files == {"run.py", "src/wegeft/__init__.py", "own/plugin.py", ".gitignore", SNAPSHOT_FILE}
    commit = git(project, "rev-parse", "HEAD")
    assert snapshot_state(taken) == {"commit": commit, "dirty": False, "modified": 0, "untracked": 0}


def test_the_same_code_is_copied_once_and_other_code_beside_it(project: Path, tmp_path: Path) -> None:
    first = snapshot.take(project, tmp_path / "snapshots")
    (project / "results" / "records" / "new.json").write_text("{}")
    assert snapshot.take(project, tmp_path / "snapshots") == first
    (project / "run.py").write_text("changed")
    (project / "src" / "wegeft" / "new.py").write_text("new")
    second = snapshot.take(project, tmp_path / "snapshots")
    assert (first / "run.py").read_text() == "run.py"
    assert (second / "run.py").read_text() == "changed"
    state = snapshot_state(second)
    assert state is not None
    assert (state["dirty"], state["modified"], state["untracked"]) == (True, 1, 1)


def test_a_snapshot_that_was_edited_says_so(project: Path, tmp_path: Path) -> None:
    taken = snapshot.take(project, tmp_path / "snapshots")
    assert not (taken / "run.py").stat().st_mode & 0o222
    (taken / "run.py").chmod(0o644)
    (taken / "run.py").write_text("edited")
    (taken / "own" / "plugin.py").unlink()
    state = snapshot_state(taken)
    assert state is not None
    assert (state["dirty"], state["modified"]) == (True, 2)


def test_without_git_it_holds_the_parts_that_a_run_needs(tmp_path: Path) -> None:
    root = tmp_path / "plain"
    for name in ("run.py", "configs/config.yaml", "src/wegeft/__init__.py", "notes.txt", "results/a.json"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    taken = snapshot.take(root, tmp_path / "snapshots")
    files = {str(path.relative_to(taken)) for path in taken.rglob("*") if path.is_file()}
    assert files == {"run.py", "configs/config.yaml", "src/wegeft/__init__.py", SNAPSHOT_FILE}
    assert snapshot_state(taken) is None


def test_a_snapshot_is_not_copied_again(project: Path, tmp_path: Path) -> None:
    taken = snapshot.take(project, tmp_path / "snapshots")
    assert snapshot.take(taken, tmp_path / "elsewhere") == taken
    assert not (tmp_path / "elsewhere").exists()


def test_data_that_git_neither_tracks_nor_ignores_is_refused(project: Path, tmp_path: Path) -> None:
    with (project / "weights.bin").open("wb") as file:
        file.truncate(snapshot.LARGEST + 1)
    with pytest.raises(UserError, match=r"200 MB.*weights\.bin"):
        snapshot.take(project, tmp_path / "snapshots")
    assert not (tmp_path / "snapshots").exists()


def test_a_job_without_a_launcher_refuses_code_of_after_its_submission(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    for path in project.rglob("*"):
        os.utime(path, (1e9, 1e9))
    (project / "notes.txt").write_text("no code")
    taken = snapshot.for_this_job(project, "2010-01-01T00:00:00")
    os.utime(project / "run.py", (2e9, 2e9))
    assert snapshot.for_this_job(project, "2010-01-01T00:00:00") == taken  # a requeued job keeps its snapshot
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    with pytest.raises(UserError, match=r"run\.py was changed after this job was submitted"):
        snapshot.for_this_job(project, "2010-01-01T00:00:00")
