"""Where every run of a plan stands: done, queued, running, failed or not started, from records, queue and run folders.

Does not: submit, or plan.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wegeft import lock
from wegeft.cluster.queue import QueuedRun
from wegeft.planning.runs import PlannedRun
from wegeft.records.store import InvalidRecord, read_record, record_path

State = Literal["done", "failed", "queued", "running", "missing"]
STATES: tuple[State, ...] = ("running", "queued", "failed", "missing", "done")
_AT_WORK = "RUNNING"
"""SLURM's word for a job that has started."""
_PROGRESS = re.compile(r"(train|answer) (\d+)/(\d+)(?:.*?(\d[\d:.]* ?\w* left))?")
_TAIL = 8192
"""Bytes at the end of a log that are looked at."""


@dataclass(frozen=True)
class Standing:
    """Where one run stands; ``note`` is its step and time left, its place in the queue, or its last error line."""

    run: PlannedRun
    state: State
    note: str


def standings(runs: Sequence[PlannedRun], queue: Sequence[QueuedRun] = ()) -> list[Standing]:
    """Where each of ``runs`` stands; ``queue`` is what SLURM has of them."""
    locks = _held_inodes()
    # Of two jobs of one run, the one that works speaks for it: the other leaves as soon as it starts.
    jobs = {job.run_id: job for job in sorted(queue, key=lambda job: job.state == _AT_WORK)}
    return [_standing(run, jobs.get(run.run_id), locks) for run in runs]


def _standing(run: PlannedRun, job: QueuedRun | None, locks: frozenset[int]) -> Standing:
    folder = Path(run.config.output_dir) / run.run_id
    if run.exists:
        return _recorded(run)
    log = _newest_log(folder)
    if job is not None and job.state != _AT_WORK:
        return Standing(run, "queued", f"job {job.job_id} {job.state}: {job.reason}")
    if job is not None or _inode(folder / lock.NAME) in locks:
        where = "on this machine" if job is None else f"job {job.job_id} for {job.elapsed}, limit in {job.time_left}"
        return Standing(run, "running", " · ".join(part for part in (_progress(log), where) if part))
    return Standing(run, "failed" if log else "missing", _last_error(log))


def _recorded(run: PlannedRun) -> Standing:
    path = record_path(run.run_id, Path(run.config.records_dir))
    try:
        record = read_record(path)
    except InvalidRecord as error:
        return Standing(run, "failed", f"its record {error}")
    if record["status"] != "finished":
        return Standing(run, "failed", f"{record['status']}: {record['error']}")
    return Standing(run, "done", f"{record['evaluation']['mean']:.1%}" if record["evaluation"] else "")


def _newest_log(folder: Path) -> str:
    """The end of the newest log of the run; empty if it was never started by a job."""
    logs = sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime)
    if not logs:
        return ""
    with logs[-1].open("rb") as file:
        file.seek(max(0, logs[-1].stat().st_size - _TAIL))
        return file.read().decode(errors="replace")


def _progress(log: str) -> str:
    """The last progress that ``log`` tells, e.g. ``train 120/250, 35 s left``."""
    found = _PROGRESS.findall(log)
    if not found:
        return ""
    what, step, steps, left = found[-1]
    return f"{what} {step}/{steps}" + (f", {left}" if left else "")


def _last_error(log: str) -> str:
    lines = [line.strip() for line in re.split(r"[\r\n]", log) if line.strip()]
    errors = [line for line in lines if re.match(r"(error:|\w*(Error|Exception)\b)", line)]
    return (errors or lines or [""])[-1]


def _held_inodes() -> frozenset[int]:
    """Inodes of the files that a process of this machine has locked; empty where the system does not tell."""
    listing = Path("/proc/locks")
    lines = listing.read_text(encoding="ascii").splitlines() if listing.is_file() else []
    return frozenset(int(match[1]) for line in lines if (match := re.search(r":(\d+) \d+ \w+$", line)))


def _inode(path: Path) -> int | None:
    return path.stat().st_ino if path.is_file() else None
