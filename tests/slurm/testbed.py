"""Submitting to the test cluster, waiting for what it does, and comparing what a run left behind."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wegeft.records.store import Record, read_record

PATIENCE_S = 900
"""Longest wait for one thing to happen; a busy machine takes minutes to start a run."""
TIMES = ("seconds", "tokens_per_second", "peak_memory_bytes")
"""Parts of a record that two equal runs do not share."""


class Testbed:
    """The cluster of slurm/testbed/, through its own programs."""

    def ask(self, *command: str) -> str:
        """Standard output of a SLURM program."""
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def submit(self, project: Path, *arguments: str, options: tuple[str, ...] = ()) -> str:
        """`sbatch OPTIONS slurm/run.sbatch ARGUMENTS` in ``project``; returns the job's id."""
        command = ["sbatch", "--parsable", "--cpus-per-task=1", *options, "slurm/run.sbatch", *arguments]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def shown(self, job: str) -> dict[str, str]:
        """What `scontrol show job` says of ``job``."""
        parts = self.ask("scontrol", "show", "job", job).split()
        return dict(part.split("=", 1) for part in parts if "=" in part)

    def state(self, job: str) -> str:
        """SLURM's word for the state of ``job``."""
        return self.shown(job)["JobState"]


def wait_until(condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Look again and again until ``condition`` gives something; that."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    pytest.fail(f"{what} has not happened within {patience_s} s")


def the_record(records: Path) -> Record:
    """The only record in ``records``."""
    (path,) = records.glob("*.json")
    return read_record(path)


def results(record: Record) -> dict[str, Any]:
    """What of ``record`` equal runs share: everything but places, times, the machine and interruptions."""
    kept = {key: record[key] for key in ("run_id", "status", "data", "prompt", "parameters", "adapter")}
    for part in ("training", "evaluation"):
        kept[part] = {key: value for key, value in record[part].items() if key not in (*TIMES, "parts")}
    return kept


def undisturbed(project: Path, folder: Path, *arguments: str) -> Record:
    """The record of the same run of the same code without SLURM."""
    places = [f"output_dir={folder / 'runs'}", f"records_dir={folder / 'records'}"]
    environment = {**os.environ, "PYTHONPATH": str(project / "src")}
    command = [sys.executable, str(project / "run.py"), *arguments, *places]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return the_record(folder / "records")
