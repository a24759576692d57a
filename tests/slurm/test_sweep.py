"""A sweep of twelve runs on a real SLURM, as a job array, while somebody goes on working at the code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.composing import run_config
from tests.slurm.testbed import PATIENCE_S, results, wait_until
from wegeft import experiment
from wegeft.cluster.queue import queued_runs
from wegeft.records.identity import run_id
from wegeft.records.store import Record, read_record

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("testbed")]

METHODS, SEEDS = ("wegeft", "lora", "dora", "red"), (42, 43, 44)
SHORT = ("task=commonsense", "training.max_steps=3", "evaluation.limit=1")
LAUNCHER = (
    "hydra/launcher=slurm",
    "hydra.launcher.array_parallelism=1",
    "hydra.launcher.cpus_per_task=1",
    "hydra.launcher.mem_gb=1",
    "+hydra.launcher.additional_parameters.nodelist=n1",
)
SWEEP = (*LAUNCHER, f"method={','.join(METHODS)}", f"seed={','.join(map(str, SEEDS))}", *SHORT)


def sweep(project: Path) -> str:
    """`python run.py -m SWEEP` in ``project``; what it says."""
    environment = {**os.environ, "PYTHONPATH": str(project / "src")}
    command = [sys.executable, "run.py", "-m", *SWEEP]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=True).stdout


def status(project: Path) -> str:
    """`python scripts/sweep.py --status SWEEP` in ``project``; its first line."""
    words = [word for word in SWEEP if "launcher" not in word]
    command = [sys.executable, "scripts/sweep.py", "--status", *words]
    environment = {**os.environ, "PYTHONPATH": str(project / "src")}
    board = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=True).stdout
    return board.splitlines()[0]


def undisturbed(method: str, seed: int) -> Record:
    """The record of one run of the sweep, made here."""
    config = run_config(f"method={method}", f"seed={seed}", *SHORT)
    experiment.run(config)
    return read_record(Path(config.records_dir) / f"{run_id(config.plain())}.json")


def test_a_sweep_ends_with_the_records_of_undisturbed_runs(project: Path) -> None:
    said = sweep(project).splitlines()
    assert len(said) == len(METHODS) * len(SEEDS)
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=project, capture_output=True, text=True, check=True
    ).stdout.strip()
    counts = {word: int(count) for word, count in (part.split() for part in status(project).split(", "))}
    assert counts["running"] + counts["queued"] + counts["done"] == len(said)
    # From here on the tree is broken; what is queued runs the code of before.
    (project / "run.py").write_text("raise SystemExit('this is not the code that was submitted')")
    (project / "src" / "wegeft" / "experiment.py").unlink()

    ids = [line.split()[1] for line in said]
    queued = queued_runs()
    assert {run.run_id for run in queued} <= set(ids)
    assert sum(run.state == "PENDING" for run in queued) >= 9
    assert all(run.state in ("PENDING", "RUNNING") for run in queued)
    most_at_once = 0

    def all_over() -> bool:
        nonlocal most_at_once
        now = [run for run in queued_runs() if run.run_id in ids]
        most_at_once = max(most_at_once, sum(run.state == "RUNNING" for run in now))
        return not now

    wait_until(all_over, "the end of the sweep", 4 * PATIENCE_S)
    assert most_at_once == 1
    for line in said:
        job, identity, *words = line.split()
        log = project / words[-1]
        assert log == project / "runs" / identity / f"slurm-{job}.log"
        assert f"record: results/records/{identity}.json" in log.read_text()
        record = read_record(project / "results" / "records" / f"{identity}.json")
        state = {"commit": commit, "dirty": False, "modified": 0, "untracked": 0}
        assert record["provenance"]["git"] == state
        assert record["provenance"]["hardware"]["threads"] == 1
        assert record["command"][1:] == words[:-1]
        config = record["config"]
        assert results(record) == results(undisturbed(config["method"]["name"], config["seed"]))
