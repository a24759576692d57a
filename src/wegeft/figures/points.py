"""What the figures show, as plain numbers: points of a table and its Pareto front. Does not: draw."""

from collections.abc import Sequence
from dataclasses import dataclass

from wegeft.tables.table import Block, Row, Table

PERCENT = "% of backbone"


@dataclass(frozen=True)
class Point:
    """One row of a table: its share of trainable parameters (percent) and its mean score (as printed)."""

    label: str
    method: str
    percent: float
    score: float
    std: float | None
    ours: bool
    quoted: bool


def points(table: Table) -> dict[str, list[Point]]:
    """The points of each backbone, by the backbone's header as the block titles begin with it."""
    texts = [heading.text for heading in table.headings]
    ranked = [index for index, heading in enumerate(table.headings) if heading.ranked]
    if PERCENT not in texts or not ranked:
        return {}
    found: dict[str, list[Point]] = {}
    for block in table.blocks:
        backbone = backbone_of(block)
        for row in block.rows:
            point = _point(row, texts.index(PERCENT), ranked[-1], block.quoted)
            if point:
                found.setdefault(backbone, []).append(point)
    return found


def backbone_of(block: Block) -> str:
    """The backbone that a block of a result table is about."""
    return block.title.partition(" — ")[0].partition(", published")[0]


def pareto(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats in score with as few parameters or fewer, from few parameters to many."""
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.percent, -point.score)):
        if not front or point.score > front[-1].score:
            front.append(point)
    return front


def _point(row: Row, percent: int, mean: int, quoted: bool) -> Point | None:
    """None for an open row, and for one without trainable parameters, which a log axis cannot show."""
    share, score = row.cells[percent].text, row.cells[mean]
    if not share or score.value is None or float(share) <= 0:
        return None
    name = str(row.facts.get("method", row.label.partition(" (")[0].lower()))
    method = "wegeft" if name == "gift" else name  # the third version's name of the method
    return Point(row.label, method, float(share), score.value, score.std, row.kind == "ours", quoted)
