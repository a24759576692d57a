"""Provenance: the real tools on real folders, and what happens without them."""

import hashlib
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from wegeft.records import provenance


def _run(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with one committed package folder; returns the package."""
    package = tmp_path / "src" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    _run(tmp_path, "init", "-q")
    _run(tmp_path, "add", "src")
    _run(tmp_path, "commit", "-qm", "first")
    return package


def test_a_clean_checkout(checkout: Path) -> None:
    state = provenance.git_state(checkout)
    expected = {"commit": _run(checkout, "rev-parse", "HEAD"), "dirty": False, "modified": 0, "untracked": 0}
    assert state == expected


def test_untracked_files_make_it_dirty_and_are_only_counted(checkout: Path) -> None:
    (checkout / "secret_name.py").write_text("x = 1")
    (checkout.parent / "new_folder").mkdir()
    (checkout.parent / "new_folder" / "b.py").write_text("x = 1")
    state = provenance.git_state(checkout)
    assert state is not None
    assert (state["dirty"], state["modified"], state["untracked"]) == (True, 0, 2)
    assert "secret_name" not in str(state)


def test_changed_files_make_it_dirty(checkout: Path) -> None:
    (checkout / "__init__.py").write_text("x = 1")
    state = provenance.git_state(checkout)
    assert state is not None
    assert (state["dirty"], state["modified"], state["untracked"]) == (True, 1, 0)


def test_results_do_not_make_it_dirty(checkout: Path) -> None:
    root = checkout.parents[1]
    (root / "results" / "records").mkdir(parents=True)
    (root / "results" / "records" / "abc.json").write_text("{}")
    state = provenance.git_state(checkout)
    assert state is not None
    assert not state["dirty"]


def test_outside_git_there_is_no_commit(tmp_path: Path) -> None:
    (tmp_path / "__init__.py").write_text("")
    assert provenance.git_state(tmp_path) is None


def test_a_package_that_the_checkout_does_not_track_has_no_commit(checkout: Path) -> None:
    installed = checkout.parents[1] / ".venv" / "package"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    assert provenance.git_state(installed) is None


def test_without_the_git_program_there_is_no_commit(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(checkout))
    assert provenance.git_state(checkout) is None


def test_lock_files_are_hashed(tmp_path: Path) -> None:
    (tmp_path / "requirements.lock").write_bytes(b"torch==2.13.0\n")
    assert provenance.lock_files(tmp_path) == {"requirements.lock": hashlib.sha256(b"torch==2.13.0\n").hexdigest()}
    assert provenance.lock_files(tmp_path / "nowhere") == {}


def test_packages_carry_version_and_origin() -> None:
    packages = provenance.collect_provenance(["run.py"])["packages"]
    assert packages["torch"]["version"] == metadata.version("torch")
    assert packages["torch"]["file"].startswith("{environment}")
    assert packages["torch"]["file"].endswith("torch/__init__.py")
    assert packages["hydra-core"]["file"].endswith("hydra/__init__.py")


def test_a_shadowing_copy_of_a_package_shows(tmp_path: Path) -> None:
    (tmp_path / "peft.py").write_text("")
    code = "from wegeft.records.provenance import packages; print(packages()['peft'])"
    environment = {"PYTHONPATH": f"{tmp_path}:{provenance.PACKAGE_ROOT.parent}", "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert str(tmp_path / "peft.py") in done.stdout


def test_the_machine_is_named() -> None:
    machine = provenance.hardware()
    assert machine["cpu"]
    assert machine["threads"] >= 1
    assert machine["memory_bytes"] > 2**28


def test_paths_are_shortened() -> None:
    assert provenance.shorten(f"{sys.prefix}/lib/x.py") == "{environment}/lib/x.py"
    assert provenance.shorten("/nowhere/x.py") == "/nowhere/x.py"
    assert provenance.shorten(f"{sys.prefix}-other/x.py") != "{environment}-other/x.py"


def test_importing_the_records_package_is_cheap() -> None:
    code = "import sys, wegeft.records; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
