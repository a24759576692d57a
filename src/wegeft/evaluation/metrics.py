"""Metrics over whole test sets: those of classification and regression that GLUE asks for, and pass@k.

Does not: know data sets or models.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Literal

Metric = Literal["accuracy", "matthews", "pearson"]


def accuracy_of(predicted: Sequence[float], gold: Sequence[float]) -> float:
    """Share of equal labels."""
    return fmean(left == right for left, right in zip(predicted, gold, strict=True))


def matthews(predicted: Sequence[float], gold: Sequence[float]) -> float:
    """Matthews correlation of two labels, 0 and 1; 0.0 where either side knows one label only."""
    pairs = list(zip(predicted, gold, strict=True))
    hits, misses = pairs.count((1, 1)), pairs.count((0, 1))
    alarms, rejections = pairs.count((1, 0)), pairs.count((0, 0))
    sides = (hits + alarms) * (hits + misses) * (rejections + alarms) * (rejections + misses)
    return (hits * rejections - alarms * misses) / math.sqrt(sides) if sides else 0.0


def pearson(predicted: Sequence[float], gold: Sequence[float]) -> float:
    """Linear correlation; 0.0 where either side is constant."""
    left, right = _centred(predicted), _centred(gold)
    scale = math.sqrt(math.fsum(x * x for x in left) * math.fsum(y * y for y in right))
    return math.fsum(x * y for x, y in zip(left, right, strict=True)) / scale if scale else 0.0


def correlation_error(predicted: Sequence[float], gold: Sequence[float]) -> float | None:
    """Standard error of :func:`pearson`, and so of :func:`matthews`, over the examples; None where a side is constant.

    The infinitesimal jackknife (Efron, 1982): the deviation of the examples' influences on r, which are
    xy - r (x² + y²) / 2 in standard units, over √n. It asks for no distribution.
    """
    left, right = _standard(predicted), _standard(gold)
    if left is None or right is None:
        return None
    r, n = math.fsum(x * y for x, y in zip(left, right, strict=True)) / len(left), len(left)
    influences = (x * y - r * (x * x + y * y) / 2 for x, y in zip(left, right, strict=True))
    return math.sqrt(math.fsum(value * value for value in influences) / (n * (n - 1)))


def pass_at_k(tried: int, passed: int, k: int) -> float:
    """Chance that at least one of ``k`` answers drawn from ``tried`` without replacement is among the ``passed``.

    The unbiased estimate of Chen et al. (2021, arXiv 2107.03374, section 2.1): 1 - C(n - c, k) / C(n, k).
    """
    if k > tried:
        raise ValueError(f"pass@{k} needs at least {k} answers per problem, and there are {tried}")
    return 1.0 - math.comb(tried - passed, k) / math.comb(tried, k)


def _centred(values: Sequence[float]) -> list[float]:
    mean = fmean(values)
    return [value - mean for value in values]


def _standard(values: Sequence[float]) -> list[float] | None:
    """``values`` with mean 0 and deviation 1; None of equal values."""
    centred = _centred(values)
    deviation = math.sqrt(fmean(value * value for value in centred))
    return [value / deviation for value in centred] if deviation else None


METRICS: Mapping[Metric, Callable[[Sequence[float], Sequence[float]], float]] = {
    "accuracy": accuracy_of,
    "matthews": matthews,
    "pearson": pearson,
}
