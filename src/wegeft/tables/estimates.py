"""Is the planning model right? What it says of each kind of run against what the runs took.

Does not: count work (the records hold it), or plan.
"""

from collections.abc import Iterable, Iterator, Sequence

from wegeft.planning.hardware import Machine, Point, assumed, fitted
from wegeft.planning.measured import Observation, by_kind, observation, point, step_recipe
from wegeft.tables.rows import OurRow
from wegeft.tables.table import Block, Cell, Heading, Row, Table

TIME_BOUND, MEMORY_BOUND = 1.5, 1.2
"""Factors within which an estimate counts as right."""

_NOTE = (
    "Each kind of run is estimated by the model of mode=plan (docs/tables.md) with rates fitted to the runs of the "
    "other methods on the same machine and family of backbones: what was measured of this method has no part in its "
    "estimate. Measured: "
    "medians over the seeds. Records that do not hold the work of a step are left out. A factor is the larger of "
    "estimated over measured and measured over estimated; * is outside its bound, "
    f"{TIME_BOUND:g} for time and {MEMORY_BOUND:g} for memory. Memory on a CPU is the process's resident set."
)


def estimates_table(rows: Sequence[OurRow]) -> Table:
    """Every kind of run whose work is known, by machine."""
    points = _points(rows)
    lines = {machine: [_line(machine, one, points) for one in own] for machine, own in points.items() if _enough(own)}
    blocks = tuple(Block(_title(machine), tuple(found)) for machine, found in lines.items())
    cells = [row.cells for block in blocks for row in block.rows]
    return Table(
        name="estimates",
        title="Planned against measured",
        about=(
            f"Time within a factor of {TIME_BOUND:g}: {_within(row[3] for row in cells)} of {len(cells)}",
            f"Memory within a factor of {MEMORY_BOUND:g}: {_within(row[6] for row in cells)} of {len(cells)}",
        ),
        headings=(
            Heading("backbone", numeric=False),
            *(Heading(f"time {what}") for what in ("estimated (s/step)", "measured (s/step)", "factor")),
            *(Heading(f"memory {what}") for what in ("estimated (MiB)", "measured (MiB)", "factor")),
        ),
        blocks=blocks,
        notes=(_NOTE,),
        commands=(),
    )


_Machine = tuple[str, str, str]
"""Name, precision, and family of backbones: each family loads libraries of its own, and memory is the process's."""
_Kind = tuple[str, Point]


def _points(rows: Sequence[OurRow]) -> dict[_Machine, list[_Kind]]:
    """By machine, precision and family: the backbone of every kind of run, and what the kind tells."""
    kinds = by_kind(_seen(rows))
    found: dict[_Machine, list[_Kind]] = {}
    for (machine, _), kind in sorted(kinds.items(), key=lambda item: (item[0][0], item[1][0].model, item[1][0].method)):
        one = point(kind)
        if one is not None:
            model = kind[0].config["model"]
            place = (machine, model.get("dtype", "float32"), model.get("family", ""))
            found.setdefault(place, []).append((kind[0].model, one))
    return found


def _title(machine: _Machine) -> str:
    name, dtype, family = machine
    return f"{name} at {dtype}" + (f", {family.replace('_', ' ')}" if family else "")


def _seen(rows: Sequence[OurRow]) -> Iterator[Observation]:
    """The runs that were trained; those of a row share a recipe."""
    for row in rows:
        runs = [run for run in row.scored if run["training"]]
        recipe = step_recipe(row.config) if runs else ""
        yield from (observation(run, recipe) for run in runs)


def _enough(kinds: Sequence[_Kind]) -> bool:
    return len({one.method for _, one in kinds}) > 1


def _line(machine: _Machine, kind: _Kind, points: dict[_Machine, list[_Kind]]) -> Row:
    backbone, one = kind
    others = [each for _, each in points[machine] if each.method != one.method]
    estimated: Machine = fitted(assumed(*machine[:2], measured=True), others)
    seconds, memory = estimated.seconds(one.work), one.tensors + estimated.overhead
    cells = (
        Cell(backbone),
        Cell(f"{seconds:.3f}"),
        Cell(f"{one.seconds:.3f}"),
        Cell(_factor(seconds, one.seconds, TIME_BOUND)),
        Cell(f"{memory / 2**20:,.0f}"),
        Cell(f"{one.memory / 2**20:,.0f}" if one.memory else ""),
        Cell(_factor(memory, one.memory, MEMORY_BOUND)),
    )
    return Row(one.method, cells, "ours")


def _within(factors: Iterable[Cell]) -> int:
    return sum(bool(cell.text) and "*" not in cell.text for cell in factors)


def _factor(estimated: float, measured: float | None, bound: float) -> str:
    if not measured:
        return ""
    factor = max(estimated / measured, measured / estimated)
    return f"{factor:.2f}{'' if factor <= bound else ' *'}"
