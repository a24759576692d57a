"""What a method costs relative to a baseline: parameters, memory, time and accuracy, as in the paper's figure.

Costs are compared on one machine only: a row that ran on other hardware than the baseline has no ratio of memory or
time. Does not: measure, or model what was not measured (``mode=plan`` does).
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import yaml

from wegeft.errors import UserError
from wegeft.planning.measured import machine_name, trained_on_one_machine
from wegeft.records.store import Record
from wegeft.schema import Strict, validate
from wegeft.tables.published import PublishedRow, load_published
from wegeft.tables.rows import OurRow
from wegeft.tables.table import Block, Cell, Heading, Row, Table

RATIOS = ("params_ratio", "memory_ratio", "wall_time_ratio", "accuracy_ratio")
HEADINGS = (
    Heading("parameters ×"),
    Heading("memory ×"),
    Heading("time ×"),
    Heading("accuracy ×"),
    Heading("parameters"),
    Heading("peak memory (GiB)"),
    Heading("tokens per second"),
    Heading("mean score"),
    Heading("hardware", numeric=False),
)


class PublishedRatios(Strict):
    """A published file with the columns :data:`RATIOS`, and the heading of its block."""

    file: str
    header: str


class EfficiencySection(Strict):
    """One table: the runs of one backbone on one task at one scale and protocol."""

    name: str
    title: str
    task: str
    scale: str
    protocol: str
    model: str
    header: str
    published: PublishedRatios | None = None


class Efficiency(Strict):
    """A family of such tables and the method that all ratios refer to."""

    name: str
    baseline: str
    sections: tuple[EfficiencySection, ...]


@dataclass(frozen=True)
class Cost:
    """Means over the finished seeds of one row, of memory and time over those on ``hardware``; None: not measured."""

    parameters: int
    memory: float | None
    seconds_per_token: float | None
    score: float | None
    hardware: str

    def ratios(self, base: "Cost") -> tuple[float | None, ...]:
        """This cost over ``base``, in the order of :data:`RATIOS`."""
        same = self.hardware == base.hardware
        return (
            _ratio(self.parameters, base.parameters),
            _ratio(self.memory, base.memory) if same else None,
            _ratio(self.seconds_per_token, base.seconds_per_token) if same else None,
            _ratio(self.score, base.score),
        )


def load_efficiency(path: Path) -> Efficiency:
    """The definition in ``path``; `UserError` naming the file."""
    try:
        return validate(Efficiency, yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except (yaml.YAMLError, UserError) as error:
        raise UserError(f"{path.name}: {error}") from error


def cost_of(row: OurRow, hardware: str = "") -> Cost:
    """What ``row`` cost on ``hardware`` or, if none of its seeds ran there, on that of most; the first of equals."""
    by_machine: defaultdict[str, list[Record]] = defaultdict(list)
    for run in row.scored:
        by_machine[machine_name(run["provenance"]["hardware"])].append(run)
    machine = hardware if hardware in by_machine else max(sorted(by_machine), key=lambda name: len(by_machine[name]))
    trained = [run["training"] for run in by_machine[machine] if run["training"] and trained_on_one_machine(run)]
    seconds = [part["seconds"] / part["tokens"] for part in trained if part["tokens"]]
    memory = [part["peak_memory_bytes"] for part in trained if part["peak_memory_bytes"]]
    return Cost(
        parameters=row.runs[0]["parameters"]["trainable"],
        memory=fmean(memory) if memory else None,
        seconds_per_token=fmean(seconds) if seconds else None,
        score=row.mean.mean if row.mean else None,
        hardware=machine,
    )


def fullest(rows: Iterable[OurRow]) -> dict[str, OurRow]:
    """By method, the row with most finished seeds; the first of equals."""
    chosen: dict[str, OurRow] = {}
    for row in rows:
        best = chosen.get(row.key.method)
        if row.scored and (best is None or len(row.scored) > len(best.scored)):
            chosen[row.key.method] = row
    return chosen


def rows_of(section: EfficiencySection, rows: Iterable[OurRow]) -> list[OurRow]:
    """The rows that ``section`` is about, without those on validation rows or a part of the test sets."""
    place = (section.task, section.scale, section.protocol, section.model)
    found = (row for row in rows if (row.key.task, row.key.scale, row.key.protocol, row.key.model) == place)
    return [row for row in found if not row.held_out and not row.limited]


def efficiency_tables(definition: Efficiency, rows: Sequence[OurRow], paper: Path) -> list[Table]:
    """One table per section."""
    return [_table(definition, section, rows_of(section, rows), paper) for section in definition.sections]


def _table(definition: Efficiency, section: EfficiencySection, rows: Sequence[OurRow], paper: Path) -> Table:
    chosen = fullest(rows)
    base = cost_of(chosen[definition.baseline]) if definition.baseline in chosen else None
    lines = [_our_line(row, base) for _, row in sorted(chosen.items())]
    blocks = [Block(f"{section.header} — run by this suite", tuple(lines))] if lines else []
    if section.published:
        published = load_published(paper / section.published.file)
        blocks.append(Block(section.published.header, tuple(_published_line(row) for row in published)))
    return Table(
        name=section.name,
        title=section.title,
        about=(f"Scale: {section.scale}", f"Protocol: {section.protocol}", f"Task: {section.task}"),
        headings=HEADINGS,
        blocks=tuple(blocks),
        notes=(_NOTE.format(baseline=definition.baseline),),
        commands=(),
    )


_NOTE = (
    "× divides by {baseline} of the same backbone, task, scale and protocol. Time is training time per token. Memory "
    "and time are those of the seeds on the hardware named, and compared on equal hardware only; memory on a CPU is "
    "the process's resident set. † run from code with uncommitted changes, or whose commit is not known; ‡ trained or "
    "scored on fewer rows than the sets hold. Where seeds failed or diverged, the numbers are those of the others. Of "
    "several recipes of a method, the one with most finished seeds is shown."
)


def _our_line(row: OurRow, base: Cost | None) -> Row:
    cost = cost_of(row, base.hardware if base else "")
    ratios = cost.ratios(base) if base else (None,) * len(RATIOS)
    cells = (
        *(Cell("" if ratio is None else f"{ratio:.3f}") for ratio in ratios),
        Cell(f"{cost.parameters:,}"),
        Cell(f"{cost.memory / 2**30:.2f}" if cost.memory else ""),
        Cell(f"{1 / cost.seconds_per_token:,.0f}" if cost.seconds_per_token else ""),
        Cell(f"{cost.score * 100:.1f}" if cost.score is not None else ""),
        Cell(cost.hardware),
    )
    label = row.key.method + (f" ({len(row.whole)} of {len(row.runs)} seeds)" if row.broken else "")
    label += " †" * bool(row.dirty) + " ‡" * row.partial
    return Row(label, cells, "ours", {"run_ids": " ".join(run["run_id"] for run in row.runs)})


def _published_line(row: PublishedRow) -> Row:
    cells = [Cell(row.values.get(name, "")) for name in RATIOS]
    cells += [Cell("")] * (len(HEADINGS) - len(cells))
    facts = {"published_in": row.labels["paper_version"], "source": row.source}
    return Row(row.labels["method"], tuple(cells), "own", facts)


def _ratio(value: float | None, base: float | None) -> float | None:
    return value / base if value is not None and base else None
