"""How far the ratios of the efficiency tables can be told apart."""

import random

import pytest

from wegeft.tables.steps import ratio_interval


def drawn(rng: random.Random, rounds: int, cost: float, drift: list[float]) -> list[float]:
    return [cost * slow * rng.lognormvariate(0, 0.03) for slow in drift[:rounds]]


def test_the_interval_covers_the_ratio_about_as_often_as_it_says() -> None:
    rng = random.Random(0)
    covered = 0
    for _ in range(60):
        drift = [rng.lognormvariate(0, 0.2) for _ in range(11)]
        low, high = ratio_interval(drawn(rng, 11, 1.2, drift), drawn(rng, 11, 1.0, drift))
        covered += low <= 1.2 <= high
    assert covered >= 52


def test_what_slows_both_down_widens_nothing() -> None:
    slow = [1.0, 2.0, 1.0, 3.0, 1.5]
    assert ratio_interval([1.1 * s for s in slow], slow) == pytest.approx((1.1, 1.1))


def test_the_same_rounds_give_the_same_interval() -> None:
    rng = random.Random(1)
    ours, theirs = drawn(rng, 7, 1.1, [1] * 7), drawn(rng, 7, 1, [1] * 7)
    assert ratio_interval(ours, theirs) == ratio_interval(ours, theirs)
    low, high = ratio_interval(ours, theirs)
    assert low < 1.1 < high


def test_one_round_has_no_spread() -> None:
    assert ratio_interval([3.0], [2.0]) == (1.5, 1.5)


def test_other_rounds_are_refused() -> None:
    with pytest.raises(ValueError, match="3 and 2 rounds"):
        ratio_interval([1.0, 2.0, 3.0], [1.0, 2.0])
