"""Significance: the tests keep their promised error rates, find real differences, and pair only what can be paired."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from tests.records.factory import make_config, make_record
from wegeft.records.outcomes import pack
from wegeft.tables.rows import OurRow, make_rows
from wegeft.tables.significance import (
    LEVEL,
    Comparison,
    compare_all,
    correct,
    paired_questions,
    paired_seeds,
    rank_rows,
)

QUESTIONS = 200


def _accepts(rejections: int, trials: int) -> bool:
    """Whether ``rejections`` fit a true rate of :data:`LEVEL` (99.9 % binomial interval)."""
    low, high = stats.binom.interval(0.999, trials, LEVEL)
    return bool(low <= rejections <= high)


def _null_runs(generator: np.random.Generator, seeds: int) -> tuple[Any, Any]:
    """Two methods of equal ability on questions of very different difficulty; shares of ``seeds`` right."""
    difficulty = generator.beta(2, 1, size=QUESTIONS)
    first, second = (generator.random((2, seeds, QUESTIONS)) < difficulty).mean(axis=1)
    return first, second


def test_false_positives_over_questions_with_three_seeds() -> None:
    generator = np.random.default_rng(1)
    trials = 1500
    rejections = sum(paired_questions(*_null_runs(generator, 3), 3)[1] < LEVEL for _ in range(trials))
    assert _accepts(rejections, trials)


def test_false_positives_of_the_exact_test_stay_below_the_level() -> None:
    generator = np.random.default_rng(2)
    trials = 1000
    rejections = sum(paired_questions(*_null_runs(generator, 1), 1)[1] < LEVEL for _ in range(trials))
    assert 0 < rejections < LEVEL * trials * 1.2


def test_false_positives_over_seeds() -> None:
    generator = np.random.default_rng(3)
    trials = 1500
    # A common part per seed (the same data order) makes pairing worth its while.
    common = generator.normal(0, 0.02, (trials, 3))
    runs = 0.8 + common + generator.normal(0, 0.01, (2, trials, 3))
    rejections = sum(paired_seeds(runs[0, trial], runs[1, trial])[1] < LEVEL for trial in range(trials))
    assert _accepts(rejections, trials)


def test_a_whole_table_of_equals_rarely_has_a_winner() -> None:
    """Family-wise: at most 5 % of tables with ten comparisons of equals show any significant one."""
    generator = np.random.default_rng(4)
    tables = 150
    winners = 0
    for _ in range(tables):
        tests = [paired_questions(*_null_runs(generator, 3), 3) for _ in range(10)]
        family = [Comparison(0, 1, "x", 0.0, *interval, p, QUESTIONS, name) for name, p, interval in tests]
        winners += any(one.significant for one in correct(family))
    assert winners <= stats.binom.ppf(0.999, tables, LEVEL)


def test_a_real_difference_is_found_and_covered() -> None:
    generator = np.random.default_rng(5)
    covered = 0
    trials = 300
    for _ in range(trials):
        difficulty = generator.beta(2, 1, size=QUESTIONS) * 0.9
        first = (generator.random((3, QUESTIONS)) < difficulty + 0.1).mean(axis=0)
        second = (generator.random((3, QUESTIONS)) < difficulty).mean(axis=0)
        _, _, (low, high) = paired_questions(first, second, 3)
        covered += low <= 0.1 <= high
    assert 0.91 * trials <= covered <= 0.985 * trials


def test_the_exact_test_is_the_binomial_test_on_disagreements() -> None:
    first = np.array([1.0] * 30 + [0.0] * 70)
    second = np.array([1.0] * 20 + [0.0] * 10 + [1.0] * 3 + [0.0] * 67)
    name, p, _ = paired_questions(first, second, 1)
    assert name == "McNemar exact"
    assert p == pytest.approx(stats.binomtest(10, 13, 0.5).pvalue)


def test_no_variation_is_no_evidence() -> None:
    same = np.ones(10)
    assert paired_questions(same, same, 1)[1] == 1.0
    assert paired_seeds(same, same)[1] == 1.0
    rounded = np.array([0.7, 0.8, 0.9])
    assert paired_seeds(rounded, rounded - 0.1)[:2] == ("none (no variation)", 1.0)


def _row(method: str, right: Any, subset: str = "boolq", questions: str = "a") -> OurRow:
    """A row with one run per line of ``right``, shape (seeds, questions)."""
    records = []
    for seed, line in enumerate(right):
        record = make_record(make_config(method, seed), {subset: float(np.mean(line))})
        record["evaluation"]["scores"][subset]["n"] = len(line)
        answers = [_Answer(f"{questions}{index}", subset, float(bit)) for index, bit in enumerate(line)]
        record["evaluation"]["outcomes"] = pack(answers)  # type: ignore[arg-type]  # has what pack reads
        records.append(record)
    return make_rows(records)[0]


class _Answer:
    def __init__(self, uid: str, subset: str, score: float) -> None:
        self.uid, self.subset, self.score, self.repeat = uid, subset, score, 0


def test_rows_are_compared_on_their_records() -> None:
    generator = np.random.default_rng(6)
    right = generator.random((3, 300)) < 0.5
    nearly = right.copy()
    nearly[:, :2] = ~nearly[:, :2]
    rows = [_row("a", generator.random((3, 300)) < 0.9), _row("b", right), _row("c", nearly)]
    found = {(one.first, one.second, one.column): one for one in compare_all(rows, ["boolq"])}
    assert len(found) == 6
    assert found[0, 1, "boolq"].significant
    assert found[0, 1, "boolq"].difference == pytest.approx(0.4, abs=0.06)
    assert not found[1, 2, "boolq"].significant
    assert found[0, 1, "boolq"].pairs == 300
    assert found[0, 1, None].pairs == 3


def test_other_questions_are_not_paired() -> None:
    right = np.ones((2, 10), dtype=bool)
    rows = [_row("a", right), _row("b", right, questions="other")]
    assert [one.column for one in compare_all(rows, ["boolq"])] == [None]


def test_records_without_outcomes_are_compared_on_the_mean_alone() -> None:
    rows = make_rows(make_record(make_config(method, seed)) for method in "ab" for seed in (1, 2))
    assert [one.column for one in compare_all(rows, ["boolq"])] == [None]
    assert rank_rows(rows, ["boolq"]) is None


def test_a_score_that_is_no_share_of_right_answers_is_not_tested_as_one() -> None:
    right = np.ones((2, 10), dtype=bool)
    rows = [_row("a", right), _row("b", right)]
    for run in rows[0].runs:
        run["evaluation"]["scores"]["boolq"]["value"] = 0.6  # a correlation, say
    assert [one.column for one in compare_all(rows, ["boolq"])] == [None]


def test_two_questions_that_differ_alike_prove_nothing() -> None:
    for seeds in (1, 3):
        test, p, _ = paired_questions(np.ones(2), np.zeros(2), seeds)
        assert test == "sign test"
        assert p == pytest.approx(0.5)
        assert paired_questions(np.ones(200), np.zeros(200), seeds)[1] < 1e-9


def test_one_seed_has_no_test_on_the_mean() -> None:
    right = np.eye(4, dtype=bool)
    rows = [_row("a", right[:1]), _row("b", right[1:2])]
    assert [one.column for one in compare_all(rows, ["boolq"])] == ["boolq"]


def test_ranks_separate_what_differs_and_share_what_does_not() -> None:
    generator = np.random.default_rng(7)
    rows = [_row(name, generator.random((3, 400)) < level) for name, level in (("a", 0.9), ("b", 0.6), ("c", 0.6))]
    ranks = rank_rows(rows, ["boolq"])
    assert ranks is not None
    assert (ranks[0].rank, ranks[0].low, ranks[0].high, ranks[0].first_share) == (1, 1, 1, 1)
    assert {ranks[1].low, ranks[2].low} == {2}
    assert {ranks[1].high, ranks[2].high} == {3}
    assert rank_rows(rows, ["boolq"]) == ranks
