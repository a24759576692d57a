"""Which examples make up which optimiser step: a pure function of the seed, the sizes and the step number.

Nothing has to be remembered to continue a run, and the global batch does not depend on how many processes share it.

Does not: load or tokenise examples.
"""

from collections.abc import Callable, Iterator, Sequence

import torch

WINDOW = 50
"""Batches whose examples are sorted together when batches are grouped by length."""


def _permutation(count: int, seed: int, epoch: int) -> list[int]:
    """0 … ``count - 1`` in an order drawn from (seed, epoch) alone."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order: list[int] = torch.randperm(count, generator=generator).tolist()
    return order


def epoch_order(examples: int, seed: int, epoch: int) -> list[int]:
    """Indices of ``examples`` examples in the order of ``epoch``."""
    return _permutation(examples, seed, epoch)


def length_grouped_order(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[int]:
    """An order of the examples of ``epoch`` in which those of a batch have similar lengths.

    Examples are shuffled, sorted by length within windows of :data:`WINDOW` batches, cut into batches, and the full
    batches are shuffled again, so that short and long ones take turns. What a step sees is no longer independent of
    length: another experiment than a shuffled order, which is why it has a name of its own.
    """
    order = epoch_order(len(lengths), seed, epoch)
    window = WINDOW * batch_size
    for first in range(0, len(order), window):
        order[first : first + window] = sorted(order[first : first + window], key=lengths.__getitem__)
    full = len(order) // batch_size
    batches = [order[i * batch_size : (i + 1) * batch_size] for i in _permutation(full, seed, epoch)]
    return [index for batch in (*batches, order[full * batch_size :]) for index in batch]


def global_batches(
    examples: int,
    batch_size: int,
    seed: int,
    steps: int,
    start: int = 0,
    order_of: Callable[[int], list[int]] | None = None,
) -> Iterator[list[int]]:
    """Example indices of optimiser steps ``start`` … ``steps - 1``, epoch after epoch.

    Every example is seen once an epoch; the last batch of an epoch is smaller when ``batch_size`` does not divide.
    ``order_of`` gives the order of an epoch by its number; by default a shuffled one.
    """
    per_epoch = -(-examples // batch_size)
    epoch, order = -1, []
    for step in range(start, steps):
        if step // per_epoch != epoch:
            epoch = step // per_epoch
            order = order_of(epoch) if order_of else epoch_order(examples, seed, epoch)
        first = step % per_epoch * batch_size
        yield order[first : first + batch_size]
