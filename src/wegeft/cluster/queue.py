"""Which runs are in SLURM's queue, waiting or running.

A job that has started is named after its run. One that waits in an array is found by the comment of the array, the
path of a file with the run ids in the order of the indices. A job that waits after `sbatch slurm/run.sbatch` is not
known yet.

Does not: say what became of jobs that are over; their records and logs do.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from wegeft.cluster.slurm import ask
from wegeft.cluster.start import JOB_NAME

COLUMNS = "%i|%T|%M|%L|%j|%r|%k"
"""Of `squeue`: job, state, time it has run, time left to its limit, name, reason for waiting, comment."""


@dataclass(frozen=True)
class QueuedRun:
    """A run in the queue.

    ``state`` is SLURM's, e.g. ``PENDING`` or ``RUNNING``; times are in SLURM's form ``days-hours:minutes:seconds``.
    """

    run_id: str
    job_id: str
    state: str
    elapsed: str
    time_left: str
    reason: str


def queued_runs() -> list[QueuedRun]:
    """This person's runs that are queued or running.

    Raises:
        UserError: there is no SLURM here, or it does not answer.
    """
    listing = ask("squeue", "--me", "--array", "--noheader", f"--format={COLUMNS}")
    return [run for line in listing.splitlines() if (run := _parse(line)) is not None]


def _parse(line: str) -> QueuedRun | None:
    """One line of `squeue`; None for a job that is no run of ours, or not yet known to be."""
    job, state, elapsed, left, name, reason, comment = line.split("|", maxsplit=6)
    run_id = _run_id(job, name, Path(comment))
    return None if run_id is None else QueuedRun(run_id, job, state, elapsed, left, reason)


def _run_id(job: str, name: str, runs_file: Path) -> str | None:
    named = re.fullmatch(rf"{JOB_NAME}-([0-9a-f]+)", name)
    if named:
        return named[1]
    if name != JOB_NAME or not runs_file.is_file():
        return None
    run_ids: list[str] = json.loads(runs_file.read_bytes())
    index = job.partition("_")[2]
    return run_ids[int(index or "0")]
