#!/usr/bin/env python
"""Make what is missing of a sweep or a table, and show where its runs stand.

``python scripts/sweep.py table=commonsense scale=mini`` submits the runs that have no record and are neither queued nor
running to SLURM, as ``python run.py -m hydra/launcher=slurm`` does. ``--status`` only shows the board, ``--local``
makes the runs on this machine, and ``--dry-run`` prints the commands. Words that are not options are those of
``python run.py -m``; ``hydra.launcher.KEY=VALUE`` sets what the site wants, or how many runs are made here at once.

Exit code 0; 1 if a run that was made here left no new record; 2 for wrong input or if SLURM refuses.
"""

import argparse
import shutil
import sys
from collections import Counter
from collections.abc import Sequence

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wegeft.cli import explain, without_collection
from wegeft.cluster.queue import QueuedRun, queued_runs
from wegeft.cluster.runs import Run, run_of
from wegeft.errors import UserError
from wegeft.planning.board import STATES, Standing, standings
from wegeft.planning.runs import planned_runs

OPEN = ("missing", "failed")
"""States of runs that a sweep starts; a run that failed goes on from its checkpoint."""
LAUNCHER = "hydra.launcher."
"""How words begin that tell how runs are started; no run has them in its configuration."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options, words = _parser().parse_known_args(arguments)
    wrong = [word for word in words if word.startswith("-") and word not in ("-m", "--multirun")]
    if wrong:
        print(f"error: {wrong[0]} is not an option; see --help.", file=sys.stderr)
        return 2
    try:
        with without_collection():
            return _sweep(options, words)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
    except (HydraException, OmegaConfBaseException) as error:
        print(f"error: {explain(error)}", file=sys.stderr)
    return 2


def show(board: Sequence[Standing]) -> None:
    """Print the board: how many runs are in each state, then every run that is not done."""
    counts = Counter(one.state for one in board)
    console = Console()
    console.print(", ".join(f"{state} {counts[state]}" for state in STATES))
    table = Table("run", "state", "what", "note")
    for one in sorted(board, key=lambda one: STATES.index(one.state)):
        if one.state not in ("done", "missing"):
            table.add_row(one.run.run_id, one.state, escape(" ".join(one.run.words)), escape(one.note))
    if table.row_count:
        console.print(table)


def _sweep(options: argparse.Namespace, words: Sequence[str]) -> int:
    """Carry the command out; the exit code."""
    launcher = [word for word in words if word.startswith(LAUNCHER)]
    planned = planned_runs([word for word in words if word not in launcher])
    board = standings(planned, _queue(options))
    if options.status:
        show(board)
        return 0
    # A run that has its record and yet failed has diverged, and would diverge again.
    wanted = [run_of(one.run.config, one.run.words) for one in board if one.state in OPEN and not one.run.exists]
    if options.dry_run:
        print("".join(f"{one.run.command}\n" for one in board if one.state in OPEN and not one.run.exists), end="")
        return 0
    folder = [word for word in words if word.startswith("output_dir=")]
    return _make_here(wanted, [*launcher, *folder]) if options.local else _submit(wanted, [*launcher, *folder])


def _queue(options: argparse.Namespace) -> Sequence[QueuedRun]:
    """What SLURM has of this person's runs; nothing where it is not needed and does not answer."""
    try:
        return queued_runs()
    except UserError as error:
        if not (options.status or options.dry_run or options.local):
            raise
        if shutil.which("squeue"):
            print(f"note: the queue is not known: {error}", file=sys.stderr)
        return ()


def _submit(runs: Sequence[Run], launcher: Sequence[str]) -> int:
    from wegeft.cluster.submit import slurm_options, to_slurm

    jobs = to_slurm(runs, slurm_options(launcher)) if runs else []
    for job in jobs:
        print(f"{job.job_id}  {job.run.run_id}  {' '.join(job.run.overrides)}  {job.log}")
    print(f"{len(jobs)} submitted")
    return 0


def _make_here(runs: Sequence[Run], launcher: Sequence[str]) -> int:
    from wegeft.cluster.submit import local_options, made_here

    over, failed = made_here(runs, local_options(launcher)) if runs else ([], [])
    for job in failed:
        print(f"{job.run.run_id}  {' '.join(job.run.overrides)}  has no new record; its log is {job.log}")
    print(f"{len(over) - len(failed)} of {len(over)} made")
    return int(bool(failed))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python scripts/sweep.py",
        description="Make what is missing of a sweep (WORDS as for run.py -m) or of a table (table=NAME).",
    )
    parser.add_argument("--status", action="store_true", help="show where every run stands, and start nothing")
    parser.add_argument("--local", action="store_true", help="make the runs on this machine")
    parser.add_argument("--dry-run", action="store_true", help="print the commands of the runs that would be started")
    return parser


if __name__ == "__main__":
    sys.exit(main())
