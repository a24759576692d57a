"""The cells of one row: numbers as text, at the precision that the definition asks for.

Does not: rank, render or choose rows.
"""

from typing import Any

from wegeft.tables.definition import Definition, Extra
from wegeft.tables.published import PublishedRow
from wegeft.tables.rows import OurRow, Statistic, code_states
from wegeft.tables.table import OPEN, Cell, Heading

EXTRA_HEADINGS: dict[Extra, Heading] = {
    "parameters": Heading("parameters"),
    "percent": Heading("% of backbone"),
    "learning_rate": Heading("learning rate"),
    "steps": Heading("steps"),
    "chance": Heading("chance"),
    "above_chance": Heading("above chance"),
    "seeds": Heading("seeds", numeric=False),
}
# Columns of the CSV and JSON forms after the printed ones, and what they hold.
ROW_FACTS = (
    "published_in",
    "method",
    "model",
    "scale",
    "protocol",
    "denominator_backbone",
    "denominator_backbone_plus_adapter",
    "percent_backbone_plus_adapter",
    "finished_seeds",
    "failed_seeds",
    "dirty_runs",
    "commits",
    "data",
    "recipe",
    "run_ids",
    "source",
)
_BEFORE: tuple[Extra, ...] = ("parameters", "percent", "learning_rate", "steps")


def headings(definition: Definition) -> tuple[Heading, ...]:
    """Settings, then score columns and their mean, then what is derived from them."""
    scores = [Heading(column.header, ranked=True) for column in definition.columns]
    return (
        *(EXTRA_HEADINGS[extra] for extra in definition.extras if extra in _BEFORE),
        *scores,
        Heading(definition.mean, ranked=definition.mean_ranked),
        *(EXTRA_HEADINGS[extra] for extra in definition.extras if extra not in _BEFORE),
    )


def score_positions(definition: Definition) -> dict[str | None, int]:
    """Where the cell of each subset stands in a row, and that of the mean (None)."""
    first = sum(extra in _BEFORE for extra in definition.extras)
    names = (*(column.subset for column in definition.columns), None)
    return {name: first + offset for offset, name in enumerate(names)}


def open_cells(definition: Definition) -> tuple[Cell, ...]:
    """A row that nobody has run."""
    return (OPEN,) * len(headings(definition))


def cells_of_our_row(definition: Definition, row: OurRow) -> tuple[Cell, ...]:
    """Mean ± deviation over the finished seeds; a row without any says how its seeds ended."""
    scores = [row.score(*column.subsets) for column in definition.columns]
    return (
        *(_extra(definition, row, extra) for extra in definition.extras if extra in _BEFORE),
        *(score_cell(definition, score) for score in (*scores, row.mean)),
        *(_extra(definition, row, extra) for extra in definition.extras if extra not in _BEFORE),
    )


def cells_of_published_row(definition: Definition, row: PublishedRow) -> tuple[Cell, ...]:
    """Numbers as printed; settings that the file does not know stay open."""
    known: dict[Extra, str] = {"parameters": row.labels["params_count"], "percent": row.labels["params_pct"]}
    names = (*(column.published for column in definition.columns), definition.mean_published)
    return (
        *(Cell(known.get(extra, "")) for extra in definition.extras if extra in _BEFORE),
        *(_published_cell(row, name) for name in names),
        *(Cell(known.get(extra, "")) for extra in definition.extras if extra not in _BEFORE),
    )


def score_cell(definition: Definition, score: Statistic | None) -> Cell:
    """``mean ± std`` in the definition's unit; the deviation is missing for one seed."""
    if score is None:
        return OPEN
    mean = f"{score.mean * definition.factor:.{definition.decimals}f}"
    if score.std is None:
        return Cell(mean, float(mean))
    std = f"{score.std * definition.factor:.{definition.decimals}f}"
    return Cell(f"{mean} ± {std}", float(mean), std=float(std))


def facts_of_our_row(row: OurRow) -> dict[str, Any]:
    """What the CSV and JSON forms say beyond the printed columns."""
    parameters = row.runs[0]["parameters"]
    states = [state for run in row.records for state in code_states(run)]
    commits = {state["commit"] if state else "unknown" for state in states}
    return {
        "method": row.key.method,
        "model": row.key.model,
        "scale": row.key.scale,
        "protocol": row.key.protocol,
        "denominator_backbone": parameters["denominators"]["backbone"],
        "denominator_backbone_plus_adapter": parameters["denominators"]["backbone_plus_adapter"],
        "percent_backbone_plus_adapter": f"{parameters['percent']['backbone_plus_adapter']:.4f}",
        "finished_seeds": " ".join(str(run["config"]["seed"]) for run in row.whole),
        "failed_seeds": " ".join(str(run["config"]["seed"]) for run in row.broken),
        "dirty_runs": row.dirty,
        "commits": " ".join(sorted(commits)),
        "data": row.key.data,
        "backbone": row.key.backbone,
        "recipe": row.key.recipe,
        "run_ids": " ".join(run["run_id"] for run in row.records),
    }


def seeds_text(row: OurRow) -> str:
    """How many seeds finished, and which did not or, of a joined row, lack some of the sets."""
    ends = [f"{run['config']['seed']} {run['status']}" for run in row.broken]
    ends += [f"{run['config']['seed']} on some of the sets" for run in row.scored if run["evaluation"]["mean"] is None]
    text = f"{len(row.whole)} of {len(row.runs)} ({', '.join(ends)})" if ends else str(len(row.whole))
    finished = [run for run in row.records if run["status"] == "finished"]
    worse = sorted({run["config"]["seed"] for run in finished if (run["training"] or {}).get("diverging")})
    if worse:
        text += f" ({', '.join(map(str, worse))} got worse in training)"
    if row.dirty:
        text += f" ({row.dirty} of them †)"
    return text


def _extra(definition: Definition, row: OurRow, extra: Extra) -> Cell:
    if extra == "parameters":
        return Cell(f"{row.runs[0]['parameters']['trainable']:,}")
    if extra == "percent":
        return Cell(f"{row.runs[0]['parameters']['percent']['backbone']:.3f}")
    if extra == "learning_rate":
        return Cell(_learning_rate(row))
    if extra == "steps":
        return Cell(_steps(row))
    if extra == "seeds":
        return Cell(seeds_text(row))
    return _chance(definition, row, extra)


def _learning_rate(row: OurRow) -> str:
    """As configured; a method that trains nothing has none, and a joined row may have one for each set."""
    rates = {part.config.get("training", {}).get("learning_rate") for part in row.parts or (row,)} - {None}
    trains = row.runs[0]["parameters"]["trainable"] + row.runs[0]["parameters"]["head"] > 0
    if not rates or not trains:
        return ""
    return f"{rates.pop():g}" if len(rates) == 1 else "by set"


def _steps(row: OurRow) -> str:
    runs = [run for part in row.parts or (row,) for run in part.scored]
    counts = sorted({run["training"]["steps"] for run in runs if run["training"]})
    return "–".join(f"{count:,}" for count in (counts if len(counts) < 2 else (counts[0], counts[-1])))


def _chance(definition: Definition, row: OurRow, extra: Extra) -> Cell:
    level = row.chance(definition.counted)
    if level is None or row.mean is None:
        return OPEN
    if extra == "chance":
        return Cell(f"{level * definition.factor:.{definition.decimals}f}")
    return Cell(f"{(row.mean.mean - level) * definition.factor:+.{definition.decimals}f}")


def _published_cell(row: PublishedRow, name: str | None) -> Cell:
    if name is None or name not in row.values:
        return OPEN
    value, std = row.values[name], row.stds.get(name)
    return Cell(f"{value} ± {std}" if std else value, float(value), std=float(std) if std else None)
