"""The first thing a job does: take the name of its run, write to the run's own log, and become ``run.py``.

The process turns into ``python run.py OVERRIDES`` (exec), so that signals reach the run itself and its exit code is
what `slurm/requeue.sh` judges. With several tasks each becomes one process of a distributed run and finds the
variables that `torchrun` would have set.

``python -m wegeft.cluster.start OVERRIDES`` does the same for a job that was submitted without a launcher.

Does not: wait for the run, or requeue.
"""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from wegeft.cluster.slurm import ask, job_id
from wegeft.errors import UserError
from wegeft.records.provenance import PROJECT_ROOT

JOB_NAME = "wegeft"
"""Name of a job in `squeue` until it knows its run; then ``wegeft-RUN``."""
FIRST_PORT, PORTS = 20_000, 20_000
"""The processes of a distributed run meet at a port of this range that follows from the job's number."""


@dataclass(frozen=True)
class Start:
    """A run as a job carries it: its overrides, its id and its folder."""

    overrides: tuple[str, ...]
    run_id: str
    folder: str

    def __call__(self) -> None:
        """Become the run; never returns."""
        rank = int(os.environ.get("SLURM_PROCID", "0"))
        here = job_id()
        if here is None:
            log = log_path(Path(self.folder), local=os.environ["SUBMITIT_LOCAL_JOB_ID"])
        else:
            log = log_path(Path(self.folder), slurm=here, rank=rank)
            os.environ |= distributed_environment(os.environ)
        if here is not None and rank == 0:
            _take_name(f"{JOB_NAME}-{self.run_id}")
        _redirect(log)
        os.execv(sys.executable, [sys.executable, str(PROJECT_ROOT / "run.py"), *self.overrides])


def log_path(folder: Path, *, slurm: str = "", local: str = "", rank: int = 0) -> Path:
    """Where a job of the run in ``folder`` logs: ``slurm-JOB.log``, or ``local-JOB.log`` on this machine."""
    stem = f"slurm-{slurm}" if slurm else f"local-{local}"
    return folder / (f"{stem}.log" if rank == 0 else f"{stem}.rank{rank}.log")


def distributed_environment(slurm: Mapping[str, str]) -> dict[str, str]:
    """What `torchrun` would set, from what SLURM sets for each task of a step; nothing for a single task.

    The first task runs on the node of the batch script, whose address SLURM gives; every node has as many tasks.
    """
    tasks = slurm["SLURM_NTASKS"]
    if tasks == "1":
        return {}
    return {
        "RANK": slurm["SLURM_PROCID"],
        "LOCAL_RANK": slurm["SLURM_LOCALID"],
        "WORLD_SIZE": tasks,
        "LOCAL_WORLD_SIZE": slurm["SLURM_STEP_TASKS_PER_NODE"].partition("(")[0],
        "MASTER_ADDR": slurm["SLURM_LAUNCH_NODE_IPADDR"],
        "MASTER_PORT": str(FIRST_PORT + int(slurm["SLURM_JOB_ID"]) % PORTS),
    }


def _take_name(name: str) -> None:
    """Rename this job; it runs as well under its old name, where SLURM refuses or is out of reach (in a container)."""
    with suppress(UserError):
        ask("scontrol", "update", f"JobId={os.environ['SLURM_JOB_ID']}", f"JobName={name}")


def _redirect(log: Path) -> None:
    """Append standard output and error to ``log`` from here on."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    with log.open("ab") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())


def main(overrides: list[str]) -> None:
    """Become the run of ``overrides``; `UserError` as one sentence with exit code 2."""
    from wegeft.cluster.runs import composed

    try:
        run = composed(overrides)
    except UserError as refusal:
        print(f"error: {refusal}", file=sys.stderr)
        raise SystemExit(2) from refusal
    run.start()


if __name__ == "__main__":
    main(sys.argv[1:])
