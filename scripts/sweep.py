#!/usr/bin/env python
"""Make what is missing of a sweep or a table, and show where its runs stand.

``python scripts/sweep.py table=commonsense scale=mini`` submits one SLURM job (slurm/run.sbatch) for every run that has
no record and is neither queued nor running. ``--status`` only shows the board, ``--local`` makes the runs here, one
after the other, and ``--dry-run`` prints the commands. Options of sbatch: ``--sbatch=--partition=gpu``, repeatable.
Words that are not options are those of ``python run.py -m``.

Exit code 0; 1 if a run that was made here or a submission failed; 2 for wrong input.
"""

import argparse
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wegeft.cli import ROOT, explain
from wegeft.errors import UserError
from wegeft.planning.board import JOB_NAME, STATES, Standing, queued_jobs, standings
from wegeft.planning.runs import planned_runs

OPEN = ("missing", "failed")
"""States of runs that a sweep starts; a run that failed goes on from its checkpoint."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options, words = _parser().parse_known_args(arguments)
    wrong = [word for word in words if word.startswith("-") and word not in ("-m", "--multirun")]
    if wrong:
        print(f"error: {wrong[0]} is not an option; see --help.", file=sys.stderr)
        return 2
    try:
        board = standings(planned_runs(words), queued_jobs())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (HydraException, OmegaConfBaseException) as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        return 2
    wanted = [one for one in board if one.state in OPEN and not _is_over(one)]
    if options.status:
        show(board)
        return 0
    if options.dry_run:
        print(
            "\n".join(
                one.run.command if options.local else shlex.join(submission(one, options.sbatch)) for one in wanted
            )
        )
        return 0
    return _make(wanted, options)


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


def submission(one: Standing, options: Sequence[str]) -> list[str]:
    """The command that submits one run; its job carries the run's id, by which the queue is read."""
    name = f"--job-name={JOB_NAME.format(run_id=one.run.run_id)}"
    return ["sbatch", name, *options, "slurm/run.sbatch", *one.run.words]


def _make(wanted: Sequence[Standing], options: argparse.Namespace) -> int:
    """Submit the runs, or make them here; what fails is told, and does not stop the others."""
    failed = 0
    for one in wanted:
        print(f"{one.run.run_id}  {one.run.command}", flush=True)
        try:
            ended = (
                _make_here(one)
                if options.local
                else subprocess.run(submission(one, options.sbatch), check=False, cwd=ROOT)
            )
        except FileNotFoundError:
            print("error: there is no sbatch here; --local makes the runs on this machine.", file=sys.stderr)
            return 2
        failed += ended.returncode != 0
    print(f"{len(wanted) - failed} of {len(wanted)} {'made' if options.local else 'submitted'}")
    return int(failed > 0)


def _make_here(one: Standing) -> subprocess.CompletedProcess[bytes]:
    """Make one run now, its output in its folder as a job's is."""
    log = Path(one.run.config.output_dir) / one.run.run_id / "local-sweep.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        command = [sys.executable, str(ROOT / "run.py"), *one.run.words]
        return subprocess.run(command, check=False, stdout=file, stderr=subprocess.STDOUT)


def _is_over(one: Standing) -> bool:
    """Whether a failed run has its record: it diverged, and would diverge again."""
    return one.run.exists


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python scripts/sweep.py",
        description="Make what is missing of a sweep (WORDS as for run.py -m) or of a table (table=NAME).",
    )
    parser.add_argument("--status", action="store_true", help="show where every run stands, and start nothing")
    parser.add_argument("--local", action="store_true", help="make the runs on this machine, one after the other")
    parser.add_argument("--dry-run", action="store_true", help="print the commands that would start them")
    parser.add_argument(
        "--sbatch", action="append", default=[], metavar="OPTION", help="an option of sbatch, repeatable"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
