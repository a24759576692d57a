"""Drawing: each function turns numbers into one figure. Does not: choose rows, or write files."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from wegeft.figures.points import Point, pareto
from wegeft.figures.style import colour, marker
from wegeft.tables.table import Block, Heading

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def accuracy_against_parameters(title: str, points: Sequence[Point], score: str) -> "Figure":
    """Score over trainable parameters on a log axis, as in the paper's figure: ours filled, published hollow.

    The dashed line is the Pareto front of our points, the dotted one that of the published points.
    """
    figure, axes = _axes(title, (6.0, 4.0))
    methods = sorted({point.method for point in points})
    for point in points:
        shade = colour(point.method, methods)
        axes.errorbar(
            point.percent,
            point.score,
            yerr=point.std,
            fmt=marker(point.method, methods),
            color=shade,
            markerfacecolor=shade if point.ours else "none",
            alpha=0.55 if point.quoted else 1.0,
            capsize=2,
            linestyle="none",
        )
    for ours, style in ((True, "--"), (False, ":")):
        front = pareto([point for point in points if point.ours == ours])
        if len(front) > 1:
            axes.plot(
                [point.percent for point in front],
                [point.score for point in front],
                style,
                color="#555555",
                linewidth=1,
                drawstyle="steps-post",
                zorder=0,
            )
    axes.set_xscale("log")
    axes.set_xlabel("trainable parameters (% of backbone)")
    axes.set_ylabel(score)
    axes.margins(x=0.2, y=0.12)
    _explain(axes, points)
    _name(axes, points)
    return figure


def bars(title: str, block: Block, headings: Sequence[Heading], score: str) -> "Figure":
    """One group of bars per score column, one bar per row, with the deviation over seeds."""
    shown = [index for index, heading in enumerate(headings) if heading.ranked]
    rows = [row for row in block.rows if any(row.cells[index].value is not None for index in shown)]
    figure, axes = _axes(title, (1.5 + 0.9 * len(shown), 3.6))
    methods = sorted({str(row.facts.get("method", row.label)) for row in rows})
    width = 0.8 / max(1, len(rows))
    for number, row in enumerate(rows):
        cells = [row.cells[index] for index in shown]
        places = [place + (number - (len(rows) - 1) / 2) * width for place in range(len(shown))]
        axes.bar(
            places,
            [cell.value or 0 for cell in cells],
            width,
            yerr=[cell.std or 0 for cell in cells],
            label=row.label,
            color=colour(str(row.facts.get("method", row.label)), methods),
            error_kw={"elinewidth": 0.8, "capsize": 1.5},
        )
    axes.set_xticks(range(len(shown)), [headings[index].text for index in shown], rotation=30, ha="right")
    axes.set_ylabel(score)
    axes.grid(visible=False, axis="x")
    axes.legend(fontsize=7, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.25))
    return figure


def ratios(title: str, rows: Mapping[str, Mapping[str, float]], baseline: str) -> "Figure":
    """One panel per quantity, one bar per method, on a log axis where they differ much: how many times ``baseline``."""
    import matplotlib.pyplot as plt

    quantities = list(dict.fromkeys(name for values in rows.values() for name in values))
    figure, panels = plt.subplots(1, len(quantities), figsize=(2.2 * len(quantities), 2.8), squeeze=False)
    figure.suptitle(title, fontsize=9)
    methods = sorted({name.lower() for name in rows})
    for axes, quantity in zip(panels[0], quantities, strict=True):
        shown = [(name, values[quantity]) for name, values in rows.items() if values.get(quantity, 0) > 0]
        axes.bar(
            [name for name, _ in shown],
            [value for _, value in shown],
            color=[colour(name.lower(), methods) for name, _ in shown],
        )
        axes.axhline(1, color="#555555", linewidth=1, linestyle="--")
        values = [value for _, value in shown]
        if values and max(values) > 5 * min(values):
            axes.set_yscale("log")
        axes.set_title(quantity, fontsize=8)
        axes.tick_params(axis="x", rotation=60, labelsize=7)
        axes.grid(visible=False, axis="x")
    panels[0][0].set_ylabel(f"relative to {baseline}")
    figure.tight_layout()
    return figure


def lines(
    title: str, series: Mapping[str, Sequence[Sequence[tuple[float, float]]]], x: str, y: str, log: bool
) -> "Figure":
    """Curves by method, each with one line per run; a single line gets markers."""
    figure, axes = _axes(title, (6.0, 3.6))
    methods = sorted(series)
    for method, runs in series.items():
        for number, run in enumerate(runs):
            axes.plot(
                [place for place, _ in run],
                [value for _, value in run],
                color=colour(method, methods),
                marker=marker(method, methods) if len(run) < 20 else None,
                linewidth=1,
                alpha=0.8,
                label=method if number == 0 else None,
            )
    if log:
        axes.set_xscale("log")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.legend(fontsize=8)
    return figure


def _axes(title: str, size: tuple[float, float]) -> "tuple[Figure, Axes]":
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=size)
    axes.set_title(title, fontsize=9)
    return figure, axes


def _name(axes: "Axes", points: Sequence[Point]) -> None:
    """Write each point's label beside it, at the first of a few places where it covers no other label or point."""
    height, letter, gap = 10.0, 5.0, 6.0
    spots = [tuple(map(float, axes.transData.transform((point.percent, point.score)))) for point in points]
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in spots]
    for point, (x, y) in zip(points, spots, strict=True):
        width = letter * len(point.label)
        places = [(dx, dy) for dy in (0, 9, -9, 18, -18, 27, -27) for dx in (gap, -gap - width)]
        boxes = [(x + dx, y + dy - height / 2, x + dx + width, y + dy + height / 2) for dx, dy in places]
        own = (x - 4, y - 4, x + 4, y + 4)
        crossed = [
            sum(_cross(box, other) for other in taken if other != own)
            + (box[0] < axes.bbox.x0 or box[2] > axes.bbox.x1)
            for box in boxes
        ]
        best = crossed.index(min(crossed))
        taken.append(boxes[best])
        dx, dy = (72 / axes.figure.dpi * offset for offset in places[best])
        axes.annotate(
            point.label,
            (point.percent, point.score),
            xytext=(dx, dy),
            textcoords="offset points",
            fontsize=7,
            va="center",
        )


def _cross(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether two boxes (left, bottom, right, top) share any area."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _explain(axes: "Axes", points: Sequence[Point]) -> None:
    """A legend for what fill and shade mean, of the kinds that are there."""
    kinds = (
        ("run by this suite", any(point.ours for point in points), "#333333", 1.0),
        ("published", any(not point.ours and not point.quoted for point in points), "none", 1.0),
        ("quoted by the publication", any(point.quoted for point in points), "none", 0.55),
    )
    for label, present, face, alpha in kinds:
        if present:
            axes.plot([], [], "o", color="#333333", markerfacecolor=face, alpha=alpha, label=label)
    axes.legend(fontsize=7)
