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


METRICS: Mapping[Metric, Callable[[Sequence[float], Sequence[float]], float]] = {
    "accuracy": accuracy_of,
    "matthews": matthews,
    "pearson": pearson,
}
