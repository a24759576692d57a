"""Metrics against scipy and by hand."""

import random
from statistics import pstdev

import pytest
from scipy.stats import pearsonr

from wegeft.evaluation.metrics import METRICS, accuracy_of, correlation_error, matthews, pearson

RANDOM = random.Random(0)
LABELS = [(RANDOM.randint(0, 1), RANDOM.randint(0, 1)) for _ in range(200)]
SCORES = [(RANDOM.random() * 5, RANDOM.random() * 5) for _ in range(200)]


def test_pearson_is_scipys() -> None:
    left, right = zip(*SCORES, strict=True)
    assert pearson(left, right) == pytest.approx(pearsonr(left, right).statistic, abs=1e-12)


def test_matthews_is_the_correlation_of_two_labels() -> None:
    left, right = zip(*LABELS, strict=True)
    assert matthews(left, right) == pytest.approx(pearsonr(left, right).statistic, abs=1e-12)


@pytest.mark.parametrize(("metric", "best"), [("accuracy", 1.0), ("matthews", 1.0), ("pearson", 1.0)])
def test_perfect_predictions(metric: str, best: float) -> None:
    gold = [0, 1, 1, 0, 1]
    assert METRICS[metric](gold, gold) == pytest.approx(best)  # type: ignore[index]  # the names of the table


def test_opposite_predictions() -> None:
    gold = [0, 1, 1, 0]
    other = [1, 0, 0, 1]
    assert (accuracy_of(other, gold), matthews(other, gold), pearson(other, gold)) == (0.0, -1.0, -1.0)


@pytest.mark.parametrize("function", [matthews, pearson])
def test_a_constant_prediction_correlates_with_nothing(function: object) -> None:
    assert callable(function)
    assert function([1, 1, 1], [0, 1, 0]) == 0.0
    assert function([0, 1, 0], [1, 1, 1]) == 0.0


@pytest.mark.parametrize("function", [accuracy_of, matthews])
def test_lengths_must_agree(function: object) -> None:
    assert callable(function)
    with pytest.raises(ValueError, match=r"zip\(\) argument 2 is longer"):
        function([1], [0, 1])


def test_the_error_of_a_correlation_is_that_of_leaving_each_example_out() -> None:
    """Of both metrics, for Matthews is the correlation of two labels; independent pairs have 1/√n."""
    for pairs, metric in ((SCORES, pearson), (LABELS, matthews)):
        related = [(left, left if number % 3 else right) for number, (left, right) in enumerate(pairs)]
        for some in (pairs, related):
            found = correlation_error(*zip(*some, strict=True))
            left_out = [metric(*zip(*some[:i], *some[i + 1 :], strict=True)) for i in range(len(some))]
            assert found == pytest.approx((len(some) - 1) ** 0.5 * pstdev(left_out), rel=0.03)
    assert correlation_error(*zip(*LABELS, strict=True)) == pytest.approx(1 / len(LABELS) ** 0.5, rel=0.1)


def test_a_constant_prediction_has_no_error() -> None:
    assert correlation_error([1, 1, 1], [0, 1, 0]) is None
    assert correlation_error([0, 1, 0], [1, 1, 1]) is None
    assert correlation_error([0, 1, 0], [0, 1, 0]) == pytest.approx(0, abs=1e-9)
