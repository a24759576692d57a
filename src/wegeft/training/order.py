"""Which examples make up which optimiser step: a pure function of the seed, the sizes and the step number.

Nothing has to be remembered to continue a run, and the global batch does not depend on how many processes share it.

Does not: load or tokenise examples.
"""

from collections.abc import Iterator

import torch


def epoch_order(examples: int, seed: int, epoch: int) -> list[int]:
    """Indices of ``examples`` examples in the order of ``epoch``: a permutation drawn from (seed, epoch) alone."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order: list[int] = torch.randperm(examples, generator=generator).tolist()
    return order


def global_batches(examples: int, batch_size: int, seed: int, steps: int, start: int = 0) -> Iterator[list[int]]:
    """Example indices of optimiser steps ``start`` … ``steps - 1``, epoch after epoch.

    Every example is seen once an epoch; the last batch of an epoch is smaller when ``batch_size`` does not divide.
    """
    per_epoch = -(-examples // batch_size)
    epoch, order = -1, []
    for step in range(start, steps):
        if step // per_epoch != epoch:
            epoch = step // per_epoch
            order = epoch_order(examples, seed, epoch)
        first = step % per_epoch * batch_size
        yield order[first : first + batch_size]
