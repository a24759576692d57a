"""Is it reproduced? Each published cell that has a counterpart of ours, with a verdict by a stated rule.

Does not: read files, or decide which published row is whose counterpart (the definition does).
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from wegeft.tables.definition import Definition
from wegeft.tables.published import PublishedRow
from wegeft.tables.rows import OurRow
from wegeft.tables.table import Block, Cell, Heading, Row, Table

Verdict = Literal["reproduced", "below", "above", "undecided", "n too small"]
VERDICTS: tuple[Verdict, ...] = ("reproduced", "below", "above", "undecided", "n too small")
MARGIN = 1.0
"""Largest difference, in the printed unit (points), that still counts as the same result."""
SEEDS_NEEDED = 2

RULE = (
    "The difference is ours minus published. Its variance adds that of our mean over seeds (s²/n), the test-set "
    "variance of our score (averaged over the seeds) and the test-set variance of the published one for as many "
    "questions; the interval is 95 % of Student's t with Welch and Satterthwaite's degrees of freedom, and empty where "
    "a record does not hold the error of its score. That both used the same questions is not credited, which widens "
    f"it. Verdict, the first that holds: n too small, fewer than {SEEDS_NEEDED} finished seeds; reproduced, the whole "
    f"interval within ± {MARGIN:g} point; below or above, the whole interval on one side of zero; else undecided. "
    "† run from code with uncommitted changes, or whose commit is not known; ‡ trained or scored on fewer rows than "
    "the sets hold. Of seeds some of which failed or diverged, ours is the mean of the others."
)


@dataclass(frozen=True)
class Check:
    """One cell: ours against published, in the printed unit; ``seeds`` finished, and ``lost`` failed or diverged."""

    section: str
    backbone: str
    row: str
    column: str
    published: float
    ours: float
    seeds: int
    low: float
    high: float
    lost: int = 0

    @property
    def difference(self) -> float:
        """Ours minus published."""
        return self.ours - self.published

    @property
    def verdict(self) -> Verdict:
        """By :data:`RULE`."""
        if self.seeds < SEEDS_NEEDED:
            return "n too small"
        if self.low >= -MARGIN and self.high <= MARGIN:
            return "reproduced"
        if self.high < 0:
            return "below"
        return "above" if self.low > 0 else "undecided"


def check_row(
    definition: Definition, section: str, backbone: str, label: str, ours: OurRow, published: PublishedRow
) -> list[Check]:
    """A check for every column that both have."""
    names = [(column.header, column.subsets, column.published) for column in definition.columns]
    checks = []
    for header, subsets, name in (*names, (definition.mean, (), definition.mean_published)):
        statistic = ours.score(*subsets) if subsets else ours.mean
        if statistic is None or name is None or name not in published.values:
            continue
        printed = float(published.values[name])
        between = (statistic.std or 0.0) * definition.factor / math.sqrt(statistic.n)
        error = _test_error(ours, subsets, definition.counted)
        within = None if error is None else error * definition.factor
        low, high = interval(statistic.mean * definition.factor - printed, between, within, statistic.n)
        ours_value = statistic.mean * definition.factor
        lost = len(ours.broken)
        checks.append(Check(section, backbone, label, header, printed, ours_value, statistic.n, low, high, lost))
    return checks


def interval(difference: float, between: float, within: float | None, seeds: int) -> tuple[float, float]:
    """95 % interval of ``difference``.

    Args:
        difference: ours minus published.
        between: standard error of our mean over seeds; has ``seeds`` - 1 degrees of freedom.
        within: standard error from the finite test set, ours and the published one's together; None, which is not
            known, gives an infinite interval.
        seeds: number of seeds; one gives an infinite interval.
    """
    from scipy import stats

    if seeds < 2 or within is None:
        return -math.inf, math.inf
    variance = between**2 + within**2
    if variance == 0:
        return difference, difference
    freedom = variance**2 * (seeds - 1) / between**4 if between else math.inf
    half = float(stats.t.ppf(0.975, freedom)) * math.sqrt(variance)
    return difference - half, difference + half


def _test_error(row: OurRow, subsets: Sequence[str], counted: Sequence[str]) -> float | None:
    """Standard error of a difference of two unweighted means, each with our test-set error; None where one is unknown.

    The means are over ``subsets``; of none, the row's own means, over those of ``counted`` that were scored. All seeds
    answer the same questions, so that their mean has the variance of one, for which theirs are averaged.
    """
    variances = []
    for run in row.scored if subsets else row.whole:
        scores = run["evaluation"]["scores"]
        if not set(subsets) <= set(scores):
            continue
        errors = [scores[name]["stderr"] for name in subsets or counted if name in scores]
        if not errors or None in errors:
            return None
        variances.append(2 * sum(error**2 for error in errors) / len(errors) ** 2)
    return math.sqrt(fmean(variances))


def reproduction_table(checks: Sequence[Check], open_cells: int) -> Table:
    """All checks, counted by verdict; ``open_cells`` published cells wait for a run of ours."""
    counts = Counter(check.verdict for check in checks)
    headings = ("column", "published", "ours", "difference", "95 % interval", "seeds", "verdict")
    textual = {"column", "verdict"}
    return Table(
        name="reproduction",
        title="Is it reproduced?",
        about=(*(f"{verdict}: {counts[verdict]}" for verdict in VERDICTS), f"not run: {open_cells}"),
        headings=tuple(Heading(text, numeric=text not in textual) for text in headings),
        blocks=_blocks(checks),
        notes=(RULE,),
        commands=(),
    )


def _blocks(checks: Iterable[Check]) -> tuple[Block, ...]:
    by_title: dict[str, list[Row]] = {}
    for check in checks:
        by_title.setdefault(f"{check.section}: {check.backbone}", []).append(_row(check))
    return tuple(Block(title, tuple(rows)) for title, rows in by_title.items())


def _row(check: Check) -> Row:
    span = f"{check.low:+.2f} to {check.high:+.2f}" if math.isfinite(check.low) else ""
    cells = (
        Cell(check.column),
        Cell(f"{check.published:g}"),
        Cell(f"{check.ours:.2f}"),
        Cell(f"{check.difference:+.2f}"),
        Cell(span),
        Cell(f"{check.seeds} of {check.seeds + check.lost}" if check.lost else str(check.seeds)),
        Cell(check.verdict),
    )
    return Row(check.row, cells, "ours")
