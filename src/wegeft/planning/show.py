"""``mode=plan`` on the terminal: one run in full, or a sweep by groups of seeds. Does not: estimate."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wegeft.config import RunConfig
from wegeft.planning.runs import PlannedRun, Planner, planned_runs
from wegeft.planning.tables import FILTERS
from wegeft.tables.commands import sweep_command
from wegeft.training.schedule import warmup_steps

WIDE = 220
"""Columns of a table whose reader is no terminal."""
_ALONE = ", training alone"
LENGTHS = {
    "measured": "measured",
    "stated": "lengths of the published files",
    "at most": "at most: the longest input that the protocol allows",
}


def plan(config: RunConfig) -> None:
    """Print the plan of one run."""
    table = Table(show_header=False)
    for name, value in describe(config).items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) else str(value))
    Console().print(table)


def plan_sweep(words: Sequence[str]) -> None:
    """Print the plan of a sweep or a table."""
    runs = planned_runs(words)
    console = _console()
    console.print(_overview(runs))
    missing = [run for run in runs if not run.exists]
    for line in _totals(runs, missing):
        console.print(line, soft_wrap=True)
    if missing:
        console.print("\nCommands that make what is missing:")
        for group in _groups(missing):
            print(sweep_command(group[0].words, [run.config.seed for run in group]))


def describe(config: RunConfig) -> dict[str, Any]:
    """The plan of one run as names and values, in the order they are shown.

    Raises:
        UserError: the method does not fit the backbone.
    """
    run = Planner().planned(config, ())
    estimate = run.estimate
    counts: Any = estimate.architecture.counts
    training, load = config.training, estimate.workload
    unknown = "unknown until the data is there"
    return {
        "run": run.run_id,
        "method": config.method["name"],
        "model": config.model.name,
        "task": config.task["name"],
        "scale / protocol / recipe": f"{config.scale.name} / {config.protocol.name} / {training.recipe}",
        "trainable parameters": counts["trainable"],
        "trained head parameters": counts["head"],
        "backbone parameters": counts["backbone"],
        "% of backbone": f"{counts['percent']['backbone']:.4f}",
        "% of backbone + adapter": f"{counts['percent']['backbone_plus_adapter']:.4f}",
        "training examples": unknown if load.train_examples is None else load.train_examples,
        "optimiser steps": unknown if estimate.steps is None else estimate.steps,
        "warm-up steps": unknown if estimate.steps is None else warmup_steps(training, estimate.steps),
        "batch size": training.batch_size,
        "learning rate": training.learning_rate,
        "training tokens": f"{_count(estimate.tokens)} ({LENGTHS[load.basis]})",
        "questions": unknown if load.questions is None else load.questions,
        "answers to them": unknown if load.answers is None else load.answers,
        "machine": estimate.machine,
        "training time": _duration(estimate.train_seconds),
        "evaluation time": _duration(estimate.eval_seconds),
        "machine hours": "–" if estimate.hours is None else f"{estimate.hours:.2f}" + _ALONE * estimate.is_partial,
        "peak memory": _size(estimate.memory),
        "known by": estimate.basis,
        "disk while it runs": _size(estimate.checkpoint_bytes + estimate.kept_bytes),
        "disk afterwards": _size(estimate.kept_bytes),
        "record": "exists" if run.exists else "missing",
    }


def _overview(runs: Sequence[PlannedRun]) -> Table:
    """A row per group of runs that differ in nothing but the seed."""
    table = Table("method", "model", "scale, protocol", "also", "done", "missing", "parameters", "steps", "tokens")
    for name in ("memory", "hours each", "hours missing", "known by"):
        table.add_column(name)
    common = set.intersection(*(set(run.words) for run in runs))
    for group in _groups(runs):
        config, estimate = group[0].config, group[0].estimate
        missing = [run for run in group if not run.exists]
        counts: Any = estimate.architecture.counts
        also = [word for word in group[0].words if word not in common and word.partition("=")[0] not in FILTERS]
        table.add_row(
            config.method["name"],
            config.model.name,
            f"{config.scale.name}, {config.protocol.name}",
            escape(" ".join(also)),
            _seeds(run for run in group if run.exists),
            _seeds(missing),
            f"{counts['trainable']:,}",
            "–" if estimate.steps is None else f"{estimate.steps:,}",
            _count(estimate.tokens),
            _size(estimate.memory),
            _hours(estimate.hours),
            _hours(None if estimate.hours is None else estimate.hours * len(missing)),
            estimate.source + ", at most" * (estimate.workload.basis == "at most") + _ALONE * estimate.is_partial,
        )
    return table


def _totals(runs: Sequence[PlannedRun], missing: Sequence[PlannedRun]) -> list[str]:
    """What is left to do, by machine, and what a plan could not know."""
    lines = [f"{len(runs)} runs: {len(runs) - len(missing)} exist, {len(missing)} are missing."]
    lines += sorted({f"{run.estimate.source}: {run.estimate.basis}, {run.estimate.machine}." for run in runs})
    for machine in sorted({run.estimate.machine for run in missing}):
        own = [run.estimate for run in missing if run.estimate.machine == machine]
        hours = sum(estimate.hours or 0.0 for estimate in own)
        kept, most = sum(one.kept_bytes for one in own), max(one.checkpoint_bytes for one in own)
        lines.append(
            f"{machine}: {len(own)} runs, {_hours(hours)} hours; disk {_size(kept)} in the end, "
            f"and up to {_size(most)} of checkpoints for each run that is at work."
        )
    unknown = sum(run.estimate.hours is None for run in missing)
    if unknown:
        lines.append(f"Of {unknown} runs the time is not known: their data or their backbone's family says too little.")
    alone = sum(run.estimate.is_partial for run in missing)
    if alone:
        lines.append(f"Of {alone} runs the time is that of the training alone: that of the evaluation is not known.")
    return lines


def _groups(runs: Iterable[PlannedRun]) -> list[list[PlannedRun]]:
    groups: dict[tuple[str, ...], list[PlannedRun]] = {}
    for run in runs:
        key = tuple(word for word in run.words if not word.startswith("seed="))
        groups.setdefault(key, []).append(run)
    return list(groups.values())


def _seeds(runs: Iterable[PlannedRun]) -> str:
    seeds = [str(run.config.seed) for run in runs]
    return " ".join(seeds) if len(seeds) <= 6 else f"{' '.join(seeds[:3])} … {seeds[-1]} ({len(seeds)})"


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=WIDE)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _hours(hours: float | None) -> str:
    return "–" if hours is None else f"{hours:.3g}" if hours < 100 else f"{hours:,.0f}"


def _count(number: float | None) -> str:
    if number is None:
        return "–"
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.0f}"


def _size(count: float | None) -> str:
    if count is None:
        return "–"
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} B"
