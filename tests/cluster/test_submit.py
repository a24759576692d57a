"""What is handed to SLURM, its batch script as a snapshot; runs on this machine; refusals.

`sbatch` is a program that keeps what it gets; tests/slurm submits to a real one.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hydra_plugins.wegeft_launcher import LocalLauncher
from tests.records.factory import make_record
from wegeft import cli
from wegeft.cluster import submit
from wegeft.cluster.runs import Run, composed
from wegeft.cluster.submit import slurm_options, to_slurm
from wegeft.errors import UserError
from wegeft.exits import BAD_INPUT, BUSY, DIVERGED, INTERRUPTED, STALLED
from wegeft.records.store import read_record, write_record

SHORT = (
    "training.max_steps=2",
    "task.sources.mini.train_rows=8",
    "task.test_subsets=[boolq,openbookqa]",
    "evaluation.limit=1",
    "task.listed_answers=false",
)


def programs(folder: Path, monkeypatch: pytest.MonkeyPatch, **bodies: str) -> None:
    """Put shell programs with these names and bodies first in PATH."""
    folder.mkdir()
    for name, body in bodies.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SLURM that takes everything and runs nothing."""
    monkeypatch.delenv("WEGEFT_PYTHON", raising=False)
    programs(tmp_path / "bin", monkeypatch, srun="", squeue="", sbatch="echo Submitted batch job 12")


def two_runs() -> list[Run]:
    return [composed(["method=wegeft", f"seed={seed}"]) for seed in (42, 43)]


@pytest.mark.usefixtures("slurm")
def test_the_batch_script_of_an_array(tmp_path: Path) -> None:
    chosen = ("partition=gpu", "setup=[module load cuda]", "mem_gb=null", "array_parallelism=4")
    options = slurm_options([f"hydra.launcher.{one}" for one in chosen])
    jobs = to_slurm(two_runs(), options)
    assert [job.job_id for job in jobs] == ["12_0", "12_1"]
    assert [job.log for job in jobs] == [job.run.folder / f"slurm-{job.job_id}.log" for job in jobs]
    (snapshot,) = (tmp_path / "runs/slurm/snapshots").iterdir()
    (script,) = tmp_path.glob("runs/slurm/*/12_submission.sh")
    text = script.read_text()
    for place, name in ((snapshot, "CODE"), (script.parent, "FOLDER"), (sys.executable, "PYTHON")):
        text = text.replace(str(place), name)
    assert text == (Path(__file__).parent / "batch_script.txt").read_text()
    assert json.loads((script.parent / "runs.json").read_text()) == [job.run.run_id for job in jobs]
    assert (snapshot / "slurm/job.sh").is_file()
    assert (snapshot / "slurm/requeue.sh").is_file()


@pytest.mark.usefixtures("slurm")
def test_more_runs_than_an_array_may_hold_share_the_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit, "LONGEST_ARRAY", 2)
    to_slurm(two_runs() * 2, slurm_options(["hydra.launcher.array_parallelism=4"]))
    scripts = [path.read_text() for path in tmp_path.glob("runs/slurm/*/12_submission.sh")]
    assert len(scripts) == 2
    assert all("--array=0-1%2\n" in script for script in scripts)


def test_what_sbatch_refuses_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs(tmp_path / "bin", monkeypatch, srun="", sbatch="echo 'error: invalid partition: gpu' >&2; exit 1")
    with pytest.raises(UserError, match=r"cannot be submitted: .*invalid partition: gpu"):
        to_slurm(two_runs(), slurm_options())


def refused(arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What `run.py -m hydra/launcher=slurm ARGUMENTS` says on stderr; nothing may be submitted."""
    monkeypatch.setattr(sys, "argv", ["run.py", "-m", "hydra/launcher=slurm", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == BAD_INPUT
    assert not Path("runs/slurm").exists()
    return capsys.readouterr().err.strip()


@pytest.mark.usefixtures("slurm")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("seed=42,-1",), ("seed=-1", "greater than or equal to 0")),
        (("method.recipe=v5,v9",), ("method.recipes.v9", "v9 is none of")),
        (("hydra.launcher.nodes=0",), ("hydra.launcher.nodes=0", "greater than or equal to 1")),
    ],
)
def test_one_bad_run_keeps_the_whole_sweep_from_being_submitted(
    arguments: tuple[str, ...],
    words: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = refused(arguments, monkeypatch, capsys)
    assert said.startswith("error: ")
    assert "\n" not in said
    for word in words:
        assert word in said


def test_without_slurm_the_launcher_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no squeue here" in refused(("seed=42",), monkeypatch, capsys)


def test_the_local_launcher_runs_what_is_missing_and_names_what_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for variable in ("PYTHONPATH", "OMP_NUM_THREADS"):  # the launcher sets them for its jobs
        monkeypatch.setenv(variable, os.environ.get(variable, ""))

    def sweep(*words: str) -> str:
        launcher = ["hydra/launcher=submitit_local", "hydra.launcher.at_once=auto"]
        monkeypatch.setattr(sys, "argv", ["run.py", "-m", *launcher, *SHORT, *words])
        cli.main()
        return capsys.readouterr().out

    assert re.fullmatch(r"\d runs at once\.\n", sweep("seed=1,2"))
    records = [read_record(path) for path in Path("results/records").iterdir()]
    assert {record["config"]["seed"] for record in records} == {1, 2}
    for record in records:
        (log,) = Path("runs", record["run_id"]).glob("local-*.log")
        assert f"record: results/records/{record['run_id']}.json" in log.read_text()
    assert sweep("seed=1,2", "data.root=/nowhere") == "2 of 2 runs have their record; force=true runs them again.\n"
    with pytest.raises(SystemExit, match="1 of 1 runs have no new record"):
        sweep("adapter=none.safetensors", "mode=evaluate")


@pytest.mark.parametrize(
    ("status", "code"), [("finished", None), ("diverged", DIVERGED), (None, "1 of 1 runs have no")]
)
def test_the_local_launcher_ends_with_what_became_of_its_runs(
    status: str | None, code: int | str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = composed([*SHORT, "force=true"])
    write_record(make_record(run.config.plain()), run.record.parent)
    os.utime(run.record, ns=(0, 0))  # of an earlier run

    def here(runs: list[Run], options: object) -> list[submit.Submitted]:
        del options
        if status is not None:
            write_record(make_record(run.config.plain(), status=status), run.record.parent)
        return [submit.Submitted("1", one, Path("log")) for one in runs]

    monkeypatch.setattr(submit, "here", here)
    launcher = LocalLauncher(cpus_per_task=1, gpus_per_node=0, at_once=1, folder="jobs")
    if code is None:
        launcher.hand_over([run])
        return
    with pytest.raises(SystemExit) as ended:
        launcher.hand_over([run])
    assert str(ended.value.code).startswith(str(code))


@pytest.mark.parametrize(
    ("code", "state", "requeued"),
    [
        (0, "RUNNING", False),
        (BAD_INPUT, "RUNNING", False),
        (DIVERGED, "RUNNING", False),
        (137, "RUNNING", False),
        (INTERRUPTED, "RUNNING", True),
        (BUSY, "RUNNING", True),
        (STALLED, "RUNNING", True),
        (140, "RUNNING", True),
        (143, "RUNNING", True),
        (INTERRUPTED, "COMPLETING", False),
        (INTERRUPTED, "CANCELLED", False),
        (INTERRUPTED, "", False),
    ],
)
def test_only_a_stopped_run_that_slurm_still_calls_running_is_requeued(
    code: int, state: str, requeued: bool, project_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs(tmp_path / "bin", monkeypatch, squeue=f"echo {state}", scontrol='echo "$@" > asked', sleep="")
    monkeypatch.setenv("SLURM_JOB_ID", "41")
    judge = ["bash", "-c", f"(exit {code}); . {project_root}/slurm/requeue.sh"]
    assert subprocess.run(judge, check=False, capture_output=True).returncode == code
    assert Path("asked").is_file() == requeued
    monkeypatch.setenv("SLURM_RESTART_COUNT", "100")
    Path("asked").unlink(missing_ok=True)
    assert subprocess.run(judge, check=False, capture_output=True).returncode == code
    assert not Path("asked").exists()


@pytest.mark.parametrize("site", ["container", "cpu", "gpus", "gres", "modules", "preemptible"])
def test_the_files_of_the_sites_set_what_sbatch_reads(site: str, project_root: Path) -> None:
    path = project_root / "slurm" / "sites" / f"{site}.sh"
    show = f"set -eu; . {path}; export -p"
    said = subprocess.run(
        ["bash", "-c", show], capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"}
    )
    assert "SBATCH_TIMELIMIT" in said.stdout
    assert f"`{path.name}`" in (path.parent / "README.md").read_text()


@pytest.mark.parametrize(("inherited", "seen"), [("", (0, 1)), ("2,3", (2, 3)), ("GPU-a,GPU-b", (0, 1)), ("5", (5, 1))])
def test_runs_get_the_gpus_that_the_sweep_was_given(
    inherited: str, seen: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", inherited)
    assert submit._as_inherited((0, 1)) == seen
