"""Who is better? Pairs of methods with their tests, and a matrix of wins with a ranking, for one table's rows.

Does not: test (``significance`` does), or decide which rows a table has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wegeft.tables.definition import Definition, Section
from wegeft.tables.rows import OurRow
from wegeft.tables.significance import LEVEL, RESAMPLES, Comparison, compare_all, rank_rows
from wegeft.tables.table import Block, Cell, Heading, Row, Table

PAIR_HEADINGS = (
    Heading("column", numeric=False),
    Heading("difference"),
    Heading("95 % interval"),
    Heading("p"),
    Heading("p (Holm)"),
    Heading("pairs"),
    Heading("test", numeric=False),
)


@dataclass(frozen=True)
class Contest:
    """The rows of one backbone that are compared, by label, and what came out."""

    title: str
    labels: tuple[str, ...]
    rows: tuple[OurRow, ...]
    comparisons: tuple[Comparison, ...]


def hold(definition: Definition, title: str, entries: Sequence[tuple[str, OurRow]]) -> Contest | None:
    """Compare all ``entries`` that have scores; None if fewer than two have."""
    scored = [(label, row) for label, row in entries if row.scored]
    if len(scored) < 2:
        return None
    rows = tuple(row for _, row in scored)
    found = compare_all(rows, [column.subset for column in definition.columns], definition.mean_ranked)
    return Contest(title, tuple(label for label, _ in scored), rows, tuple(found)) if found else None


def below_best(definition: Definition, contest: Contest) -> set[tuple[str, str | None]]:
    """Label and column (None: the mean) of every row that is significantly below the best of that column.

    As for bold print, a row with a failed seed or a part of the test sets cannot be the best.
    """
    marked = set()
    for column in (*(column.subset for column in definition.columns), None):
        values = {label: _value(row, column) for label, row in zip(contest.labels, contest.rows, strict=True)}
        whole = {label for label, row in zip(contest.labels, contest.rows, strict=True) if row.rankable}
        known = {label: value for label, value in values.items() if value is not None and label in whole}
        best = max(known, key=lambda label: known[label], default=None)
        for comparison in contest.comparisons:
            pair = {contest.labels[comparison.first], contest.labels[comparison.second]}
            if comparison.column == column and comparison.significant and best in pair:
                marked |= {(label, column) for label in pair - {best} if (values[label] or 0) < known[best]}
    return marked


def comparison_tables(definition: Definition, section: Section, contests: Sequence[Contest]) -> list[Table]:
    """The pairs and the wins of one section; nothing where nothing could be compared."""
    if not contests:
        return []
    about = (f"Scale: {section.scale}", f"Protocol: {section.protocol}", f"Metric: {definition.metric}")
    return [
        Table(
            name=f"{section.name}_pairs",
            title=f"{section.title}: every pair of methods",
            about=about,
            headings=PAIR_HEADINGS,
            blocks=tuple(_pairs(definition, contest) for contest in contests),
            notes=(_PAIR_NOTE,),
            commands=(),
            label="pair",
        ),
        *(_wins(definition, section, contest, position, about) for position, contest in enumerate(contests)),
    ]


_PAIR_NOTE = (
    "Difference: first minus second method, in the unit of the metric, with a 95 % confidence interval that is not "
    "corrected for the number of comparisons; p (Holm) is, over all rows of a block. On one set the pairs are "
    "questions, answered by the same seeds of both methods: McNemar's exact test for one seed, a paired t-test on the "
    "share of seeds that were right for more, the sign test where all questions differ alike. It asks whether these "
    "trained models differ. On the mean the pairs are "
    "seeds, and a paired t-test asks whether the methods differ when they are trained again; with three seeds it "
    "detects only large differences. Where a method has several recipes, the one with most finished seeds is compared; "
    "one that was scored on a part of its test sets never is."
)


def _pairs(definition: Definition, contest: Contest) -> Block:
    headers: Mapping[str | None, str] = {column.subset: column.header for column in definition.columns}
    rows = [_pair(definition, contest, one, headers.get(one.column, "mean")) for one in contest.comparisons]
    return Block(contest.title, tuple(rows))


def _pair(definition: Definition, contest: Contest, one: Comparison, column: str) -> Row:
    def number(value: float) -> str:
        return f"{value * definition.factor:+.{definition.decimals + 1}f}"

    cells = (
        Cell(column),
        Cell(number(one.difference) + (" *" if one.significant else "")),
        Cell(f"{number(one.low)} to {number(one.high)}"),
        Cell(_p(one.p)),
        Cell(_p(one.p_holm)),
        Cell(f"{one.pairs:,}"),
        Cell(one.test),
    )
    return Row(f"{contest.labels[one.first]} − {contest.labels[one.second]}", cells, "ours")


def _wins(definition: Definition, section: Section, contest: Contest, position: int, about: tuple[str, ...]) -> Table:
    suffix = "" if position == 0 else f"_{contest.rows[0].key.model}"
    ranks = rank_rows(contest.rows, definition.counted)
    rows = []
    for index, label in enumerate(contest.labels):
        cells = [Cell(_tally(contest, index, other)) for other in range(len(contest.labels))]
        if ranks is not None:
            ranking = ranks[index]
            cells += [
                Cell(f"{ranking.rank:g}"),
                Cell(f"{ranking.low:g} to {ranking.high:g}"),
                Cell(f"{ranking.first_share:.0%}"),
            ]
        rows.append(Row(label, tuple(cells), "ours"))
    headings = [Heading(f"against {label}") for label in contest.labels]
    if ranks is not None:
        headings += [Heading("rank"), Heading("95 % of ranks"), Heading("first in")]
    return Table(
        name=f"{section.name}_wins{suffix}",
        title=f"{section.title}: wins, ties and losses",
        about=about,
        headings=tuple(headings),
        blocks=(Block(contest.title, tuple(rows)),),
        notes=(_WIN_NOTE,),
        commands=(),
    )


_WIN_NOTE = (
    f"Wins – ties – losses of the row's method over the sets: a win or a loss is a difference with p < {LEVEL} after "
    "Holm's correction over all comparisons of the block, anything else a tie. The rank is by the mean; its range and "
    f"how often a method was first come from {RESAMPLES:,} resamples of the questions and of the seeds, the same for "
    "all methods."
)


def _tally(contest: Contest, first: int, second: int) -> str:
    if first == second:
        return ""
    wins = ties = losses = 0
    for one in contest.comparisons:
        if one.column is None or {one.first, one.second} != {first, second}:
            continue
        gain = one.difference if one.first == first else -one.difference
        wins += one.significant and gain > 0
        losses += one.significant and gain < 0
        ties += not one.significant
    return f"{wins} – {ties} – {losses}"


def _value(row: OurRow, column: str | None) -> float | None:
    statistic = row.mean if column is None else row.score(column)
    return statistic.mean if statistic else None


def _p(value: float) -> str:
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"
