"""What a training step of each method costs, from the reports of ``+experiment=efficiency``.

Does not: measure, or compare figures of two reports.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as ConsoleTable
from scipy.stats import bootstrap

from wegeft.efficiency.figures import COMPILED, Figures
from wegeft.efficiency.report import Report, read_report
from wegeft.errors import UserError
from wegeft.products import TORCH
from wegeft.records.store import Problem
from wegeft.tables.table import Block, Cell, Heading, Row, Table

HEADINGS = (
    Heading("time / floor"),
    Heading("95 % of it"),
    Heading("operations / floor"),
    Heading("time ×"),
    Heading("95 % of that"),
    Heading("memory ×"),
    Heading("parameters ×"),
    Heading("step (ms)"),
    Heading("fastest–slowest"),
    Heading("tokens per second"),
    Heading("utilisation (%)"),
    Heading("evaluation tokens per second"),
    Heading("memory (MiB)"),
    Heading("reserved (MiB)"),
    Heading("parameters"),
    Heading("adapter (MiB)"),
)
RESAMPLES = 4999
COMPILED_HEADINGS = (Heading("compiled gain ×"), Heading("first step (s)"))
_ON_TERMINAL = ("time / floor", "95 % of it", "time ×", "memory ×", "step (ms)", "compiled gain ×", "first step (s)")


def step_tables(folder: Path) -> tuple[list[Table], list[Problem]]:
    """One table per report in ``folder``, by name; a report that cannot be read is a problem."""
    tables, problems = [], []
    for path in sorted(folder.glob("*.json")):
        try:
            tables.append(step_table(read_report(path)))
        except UserError as error:
            problems.append(Problem(path.name, str(error)))
    return tables, problems


def step_table(report: Report) -> Table:
    """The table of one report, fastest contestant first."""
    ordered = sorted(report.contestants.items(), key=lambda item: item[1].step)
    compiled = any(name.endswith(COMPILED) for name in report.contestants)
    lines = tuple(
        Row(name, tuple(map(Cell, [*_texts(report, figures), *(_gain(report, name) if compiled else ())])), "ours")
        for name, figures in ordered
    )
    depth = "all layers" if report.layers is None else f"layers: {report.layers}"
    machine = report.provenance["hardware"]
    where = ", ".join(machine["gpus"]) or f"{machine['cpu']}, threads: {machine['threads']}"
    return Table(
        name=f"step_{report.name}",
        title=f"What a training step costs: {report.model}, {report.tokens} tokens, {report.dtype}, {report.device}",
        about=(
            f"Scale: {report.scale}",
            f"Backbone: {report.model}, {depth}, weights: {report.weights}",
            *([] if report.linear_kernel == TORCH else [f"Linear layers of the backbone: by {report.linear_kernel}"]),
            f"Hardware: {where}; load before: {report.load:.2f}",
        ),
        headings=(*HEADINGS, *(COMPILED_HEADINGS if compiled else ())),
        blocks=(Block("Medians of one process, all contestants in turns", lines),),
        notes=(
            _NOTE.format(floor=report.floor, baseline=report.baseline, rate=report.peak_flops / 1e9),
            *([_COMPILED_NOTE] if compiled else []),
        ),
        commands=(" ".join(["python", *report.command]),),
        commands_title="Command that measured this",
    )


_NOTE = (
    "A step is a forward pass to the last hidden state and a backward pass to the input. Floor: {floor}, nothing "
    "trainable. × divides by {baseline}. Operations: of matrix products, counted. 95 %: interval of a ratio, "
    "bootstrapped over the rounds. Memory: on a GPU the peak of a step with the weights, else what is kept for the "
    "backward pass. Utilisation: operations of the floor's step, per second, over those of one large matrix product "
    "measured beside it ({rate:,.0f} GFLOP/s). Evaluation: forward passes with the method folded into the weights "
    "where it can be."
)


_COMPILED_NOTE = (
    "Compiled: `training.compile`, every block by itself. Gain: the uncompiled step over the compiled one. The first "
    "step compiles and enters no median. Evaluation is not compiled, as in a run."
)


def _gain(report: Report, name: str) -> Sequence[str]:
    """The cells of :data:`COMPILED_HEADINGS`, empty for a contestant that is not compiled."""
    figures, plain = report.contestants[name], report.contestants.get(name.removesuffix(COMPILED))
    if plain is None or plain is figures or figures.compiling_seconds is None:
        return "", ""
    return f"{plain.step / figures.step:.3f}", f"{figures.compiling_seconds:.1f}"


def ratio_interval(ours_R: Sequence[float], theirs_R: Sequence[float]) -> tuple[float, float]:
    """A 95 % interval of the ratio of two medians: percentiles of a paired bootstrap, seeded.

    Paired, since what slows a machine down for a while slows down both. Both in seconds, one per round R.

    Raises:
        ValueError: the two have different numbers of rounds.
    """
    if len(ours_R) != len(theirs_R):
        raise ValueError(f"{len(ours_R)} and {len(theirs_R)} rounds: a ratio needs the same ones")
    if len(ours_R) == 1:  # scipy refuses to resample one
        ratio = ours_R[0] / theirs_R[0]
        return ratio, ratio

    def ratio_of_medians(a: NDArray[np.float64], b: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
        return np.median(a, axis=axis) / np.median(b, axis=axis)

    found = bootstrap(
        (ours_R, theirs_R), ratio_of_medians, paired=True, n_resamples=RESAMPLES, method="percentile", rng=0
    ).confidence_interval
    return float(found.low), float(found.high)


def _interval(ours: Figures, theirs: Figures) -> str:
    if ours is theirs:
        return ""
    low, high = ratio_interval(ours.step_seconds, theirs.step_seconds)
    return f"{low:.2f}–{high:.2f}"


def _operations(figures: Figures, floor: Figures) -> str:
    """Empty in a report from before they were counted."""
    if figures.step_flops is None or not floor.step_flops:
        return ""
    return f"{figures.step_flops / floor.step_flops:.3f}"


def _texts(report: Report, figures: Figures) -> Sequence[str]:
    """The cells of one contestant."""
    floor, base = report.contestants[report.floor], report.contestants[report.baseline]
    reserved = figures.peak_reserved_bytes
    return (
        f"{figures.step / floor.step:.3f}",
        _interval(figures, floor),
        _operations(figures, floor),
        f"{figures.step / base.step:.3f}",
        _interval(figures, base),
        f"{figures.memory / base.memory:.3f}",
        f"{figures.trainable / base.trainable:.3f}" if base.trainable else "",
        f"{figures.step * 1e3:,.1f}",
        f"{min(figures.step_seconds) * 1e3:,.1f}–{max(figures.step_seconds) * 1e3:,.1f}",
        f"{report.tokens / figures.step:,.0f}",
        f"{100 * report.model_flops / figures.step / report.peak_flops:.1f}",
        f"{report.tokens / figures.evaluation:,.0f}",
        f"{figures.memory / 2**20:,.1f}",
        "" if reserved is None else f"{reserved / 2**20:,.1f}",
        f"{figures.trainable:,}",
        f"{figures.adapter_bytes / 2**20:.2f}",
    )


def print_report(report: Report, path: Path) -> None:
    """Show the times on the terminal."""
    table = step_table(report)
    shown = [i for i, heading in enumerate(table.headings) if heading.text in _ON_TERMINAL]
    lines = ConsoleTable(title=table.title, box=SIMPLE_HEAD)
    lines.add_column("contestant")
    for index in shown:
        # A narrow terminal may break a heading, but not cut a figure.
        widest = max(len(row.cells[index].text) for row in table.blocks[0].rows)
        lines.add_column(table.headings[index].text, justify="right", min_width=widest)
    for row in table.blocks[0].rows:
        lines.add_row(row.label, *(row.cells[index].text for index in shown))
    console = Console()
    console.print(lines)
    console.print(f"written: {path}")
