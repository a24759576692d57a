"""Paired tests between two rows, their correction for many comparisons, and a ranking with its uncertainty.

Two questions are kept apart. On one subset: did these models answer the same questions differently well (seeds taken
as given)? On the mean: does the method do better when it is trained again (seeds as the sample)? The tests are those of
scipy and statsmodels; what is paired, and over what, is decided here.

Does not: choose which rows are compared, or render.
"""

import gc
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, reduce
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from wegeft.records.outcomes import unpack
from wegeft.tables.rows import OurRow

LEVEL = 0.05
RESAMPLES = 1000
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """First row minus second row on one column.

    Attributes:
        first, second: positions of the rows among those compared.
        column: subset, or None for the mean.
        difference: of the means, as a fraction.
        low, high: 95 % confidence interval of ``difference``, not corrected for the number of comparisons.
        p: two-sided, of this comparison alone.
        p_holm: corrected over all comparisons of the table.
        pairs: how many pairs the test saw: questions, or seeds.
        test: its name.
    """

    first: int
    second: int
    column: str | None
    difference: float
    low: float
    high: float
    p: float
    pairs: int
    test: str
    p_holm: float = 1.0

    @property
    def significant(self) -> bool:
        """Whether the corrected test rejects equality at :data:`LEVEL`."""
        return self.p_holm < LEVEL


def compare_all(rows: Sequence[OurRow], subsets: Sequence[str], on_mean: bool = True) -> list[Comparison]:
    """Every pair of ``rows`` on every subset and, if asked, on the mean; pairs without data are left out.

    All p-values are corrected together.
    """
    found = []
    answers = [_answers_of(row, subsets) for row in rows]
    for first in range(len(rows)):
        for second in range(first + 1, len(rows)):
            tests = [_on_subset(answers[first], answers[second], subset) for subset in subsets]
            if on_mean:
                tests.append(_on_mean(rows[first], rows[second]))
            found += [replace(test, first=first, second=second) for test in tests if test]
    return correct(found)


def correct(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons with their p-values after Holm's correction over all of them."""
    if not comparisons:
        return []
    from statsmodels.stats.multitest import multipletests  # takes a second to import

    # multipletests collects garbage each time; frozen, thousands of records are not searched for it.
    gc.freeze()
    try:
        corrected = multipletests([comparison.p for comparison in comparisons], method="holm")[1]
    finally:
        gc.unfreeze()
    return [replace(one, p_holm=float(p)) for one, p in zip(comparisons, corrected, strict=True)]


_NO_VARIATION = 1e-9
"""Differences of scores closer than this are equal but for rounding; no test set has so many questions."""


def paired_questions(first: Floats, second: Floats, seeds: int) -> tuple[str, float, tuple[float, float]]:
    """Test of equal accuracy from the share of seeds that answered each question rightly.

    Args:
        first: shape (questions,); 0 or 1 where ``seeds`` is 1, else shares of ``seeds``.
        second: the same of the other row.
        seeds: how many runs are behind each share.

    Returns:
        Name of the test, two-sided p-value, 95 % confidence interval of the difference: McNemar's exact test for one
        seed, the paired t-test over questions for more, the sign test where all differ by one amount. The interval is
        the t-test's; without variation it is that amount.
    """
    from scipy import stats
    from statsmodels.stats.contingency_tables import mcnemar

    difference = first - second
    if not np.any(difference != difference[0]):
        # No variation: the t-test is undefined. Equal everywhere is no evidence of a difference.
        constant = float(difference[0])
        if constant == 0:
            return "none (no variation)", 1.0, (constant, constant)
        p = float(stats.binomtest(len(difference), len(difference)).pvalue)
        return "sign test", p, (constant, constant)
    result = stats.ttest_rel(first, second)
    low, high = result.confidence_interval(0.95)
    if seeds > 1:
        return "paired t over questions", float(result.pvalue), (float(low), float(high))
    right, wrong = first == 1, first == 0
    table = [[np.sum(a & (second == b)) for b in (1, 0)] for a in (right, wrong)]
    return "McNemar exact", float(mcnemar(table, exact=True).pvalue), (float(low), float(high))


def paired_seeds(first: Floats, second: Floats) -> tuple[str, float, tuple[float, float]]:
    """Paired t-test over seeds; shapes (seeds,), at least two.

    A few seeds whose scores, fractions of a test set, differ by one amount do not tell how much they vary: no test.
    """
    from scipy import stats

    difference = first - second
    if np.ptp(difference) < _NO_VARIATION:
        constant = float(difference[0])
        return "none (no variation)", 1.0, (constant, constant)
    result = stats.ttest_rel(first, second)
    low, high = result.confidence_interval(0.95)
    return "paired t over seeds", float(result.pvalue), (float(low), float(high))


def _on_subset(first: "_AllAnswers", second: "_AllAnswers", subset: str) -> Comparison | None:
    seeds = sorted(seed for seed, name in first if name == subset and (seed, name) in second)
    answers = [(first[seed, subset], second[seed, subset]) for seed in seeds]
    kept = [(a[1], b[1]) for a, b in answers if a[0] == b[0]]
    if not kept or len({len(a) for a, _ in kept}) > 1:
        return None
    mean_first = np.mean([a for a, _ in kept], axis=0)
    mean_second = np.mean([b for _, b in kept], axis=0)
    test, p, (low, high) = paired_questions(mean_first, mean_second, len(kept))
    difference = float(np.mean(mean_first) - np.mean(mean_second))
    return Comparison(0, 0, subset, difference, low, high, p, len(mean_first), test)


def _on_mean(first: OurRow, second: OurRow) -> Comparison | None:
    seeds = _common_seeds(first, second)
    if len(seeds) < 2:
        return None
    means_first, means_second = _means(first, seeds), _means(second, seeds)
    test, p, (low, high) = paired_seeds(means_first, means_second)
    difference = float(np.mean(means_first - means_second))
    return Comparison(0, 0, None, difference, low, high, p, len(seeds), test)


@dataclass(frozen=True)
class Ranking:
    """Rank of one row by its mean (1 is best) with the middle 95 % of its ranks over resamples.

    ``first_share`` is the share of resamples in which it came first; those who tie share one.
    """

    rank: float
    low: float
    high: float
    first_share: float


def rank_rows(rows: Sequence[OurRow], subsets: Sequence[str]) -> list[Ranking] | None:
    """Ranks of ``rows`` under resampling of questions and of seeds; None where they were not asked the same.

    Each resample draws, with replacement, seeds and the questions of every subset, the same for all rows, and ranks
    the means over subsets. Ties share the mean of their ranks.
    """
    seeds = reduce(lambda kept, row: kept & _seeds(row), rows, _seeds(rows[0])) if rows else set()
    if len(rows) < 2 or not seeds:
        return None
    picks = _draws(len(seeds), 0)
    kept = [_answers_of(row, subsets) for row in rows]
    total = np.zeros((RESAMPLES, len(rows)))
    for number, subset in enumerate(subsets, start=1):
        answers = _stacked(kept, sorted(seeds), subset)
        if answers is None:
            return None
        total += _resampled(answers, _draws(answers.shape[2], number), picks) / len(subsets)
    return _summarise(total, rows)


def _stacked(kept: "Sequence[_AllAnswers]", seeds: Sequence[int], subset: str) -> Floats | None:
    """Shape (rows, seeds, questions); None unless all were asked the same questions."""
    found = [[answers.get((seed, subset)) for seed in seeds] for answers in kept]
    flat = [one for line in found for one in line]
    if any(one is None for one in flat) or len({one[0] for one in flat if one}) > 1:
        return None
    return np.array([[one[1] for one in line if one] for line in found])


@cache
def _draws(count: int, number: int) -> NDArray[np.int16]:
    """How often each of ``count`` things is drawn in each resample, shape (resamples, count).

    Draws with another ``number`` are independent; the same ones serve all contests, for drawing them takes longest.
    """
    drawn = np.random.default_rng([number, count]).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    return drawn.astype(np.int16)


def _resampled(answers: Floats, questions: NDArray[np.int16], seeds: NDArray[np.int16]) -> Floats:
    """Scores of every row in every resample, shape (resamples, rows)."""
    rows, runs, count = answers.shape
    sums = questions.astype(np.float64) @ answers.reshape(rows * runs, count).T
    per_seed = sums.reshape(len(questions), rows, runs) / count
    return np.asarray(np.einsum("brs,bs->br", per_seed, seeds / runs))


def _summarise(scores: Floats, rows: Sequence[OurRow]) -> list[Ranking]:
    from scipy import stats

    ranks = stats.rankdata(-scores, axis=1)
    observed = stats.rankdata([-(row.mean.mean if row.mean else 0.0) for row in rows])
    low, high = np.quantile(ranks, [0.025, 0.975], axis=0, method="closest_observation")
    is_first = ranks == ranks.min(axis=1, keepdims=True)
    first = np.mean(is_first / is_first.sum(axis=1, keepdims=True), axis=0)
    return [
        Ranking(float(observed[index]), float(low[index]), float(high[index]), float(first[index]))
        for index in range(len(rows))
    ]


def _common_seeds(first: OurRow, second: OurRow) -> list[int]:
    """The seeds for which both have a mean."""
    return sorted(_seeds(first, with_mean=True) & _seeds(second, with_mean=True))


def _seeds(row: OurRow, with_mean: bool = False) -> set[int]:
    return {run["config"]["seed"] for run in row.scored if not with_mean or run["evaluation"]["mean"] is not None}


def _means(row: OurRow, seeds: Iterable[int]) -> Floats:
    by_seed = {run["config"]["seed"]: run["evaluation"]["mean"] for run in row.scored}
    return np.array([by_seed[seed] for seed in seeds], dtype=float)


# Digest of the questions and the outcome of each, by seed and subset.
_AllAnswers: TypeAlias = dict[tuple[int, str], tuple[str, Floats]]


def _answers_of(row: OurRow, subsets: Sequence[str]) -> _AllAnswers:
    """What the records of ``row`` keep of ``subsets`` whose score is the share of right answers.

    Of any other (a correlation), the answers that are right say too little: a test of them would be about accuracy.
    """
    found: _AllAnswers = {}
    for run in row.scored:
        outcomes, scores = run["evaluation"].get("outcomes", {}), run["evaluation"]["scores"]
        for subset in subsets:
            if subset in outcomes and subset in scores:
                right = np.array(unpack(outcomes[subset], scores[subset]["n"]), dtype=float)
                if abs(right.mean() - scores[subset]["value"]) < _NO_VARIATION:
                    found[run["config"]["seed"], subset] = outcomes[subset]["questions"], right
    return found
