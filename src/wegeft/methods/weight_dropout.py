"""dropout(W) φ without keeping a dropped copy of W: the v5 weight dropout at the price of its random numbers.

The official code casts W to fp32, drops entries and keeps copy and mask until the backward pass. Here the mask is drawn
from a seed, row block by row block; the backward pass draws it again. Registered as an operator, so that
`torch.compile` treats it as a whole and never computes it twice.

Does not: reproduce the mask of the official code, which no seed could (another order of random numbers).
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Entries of W whose mask is alive at a time: small enough to stay in a cache, large enough for one efficient product.
_BLOCK = 1 << 20


def dropped_product(weight_OI: Tensor, phi_IR: Tensor, p: float) -> Tensor:
    """dropout(W, p) φ with a new mask at each call, (O, R); gradients flow to φ only.

    Args:
        weight_OI: the frozen weight; never copied whole.
        phi_IR: the factor, in the dtype of the weight.
        p: probability that an entry of W is dropped, rounded to 1/65,536; those kept are divided by 1 - p, as in
            dropout.
    """
    b_OR: Tensor = _forward(weight_OI, phi_IR, p)[0]
    return b_OR


def _dropped_blocks(weight_OI: Tensor, seed: Tensor, p: float) -> Iterator[tuple[slice, Tensor]]:
    """Row blocks of W with entries dropped, each with its rows; the same for the same seed."""
    rows = max(1, _BLOCK // weight_OI.shape[1])
    starts = range(0, weight_OI.shape[0], rows)
    kept = _kept_on_gpu if weight_OI.is_cuda else _kept_on_cpu
    words = -(-rows * weight_OI.shape[1] // 4)
    for start, kept_E in zip(starts, kept(int(seed.item()), len(starts), words, p, weight_OI.device), strict=True):
        block_OI = weight_OI[start : start + rows]
        yield slice(start, start + rows), block_OI * kept_E[: block_OI.numel()].view_as(block_OI).to(block_OI)


def _kept_on_gpu(seed: int, blocks: int, words: int, p: float, device: torch.device) -> Iterator[Tensor]:
    """Which entries of each block are kept, as booleans; four entries per random word of 64 bits."""
    generator = torch.Generator(device).manual_seed(seed)
    for _ in range(blocks):
        bits_W = torch.empty(words, dtype=torch.int64, device=device).random_(-(2**63), None, generator=generator)
        yield bits_W.view(torch.int16) >= _dropped_values(p) - 2**15


def _kept_on_cpu(seed: int, blocks: int, words: int, p: float, _: torch.device) -> Iterator[Tensor]:
    """The same by NumPy, as bytes of 0 and 1: torch draws at half the speed and compares 16-bit words at a twentieth.

    Each block has a stream of its own, so that threads can draw several at once and the mask does not depend on how
    many there are.
    """
    threads = torch.get_num_threads()

    def draw(block: int) -> Tensor:
        bits_E = np.random.SFC64([seed, block]).random_raw(words).view(np.int16)
        return torch.from_numpy((bits_E >= _dropped_values(p) - 2**15).view(np.uint8))

    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, blocks, threads):
            yield from pool.map(draw, range(first, min(first + threads, blocks)))


def _dropped_values(p: float) -> int:
    """How many of the 65,536 values of 16 random bits mean that an entry is dropped."""
    return round(p * 2**16)


def _kept(p: float) -> float:
    """The probability of keeping an entry, exactly as drawn."""
    return 1 - _dropped_values(p) / 2**16


@torch.library.custom_op("wegeft::dropped_product", mutates_args=(), tags=(torch.Tag.nondeterministic_seeded,))
def _forward(weight_OI: Tensor, phi_IR: Tensor, p: float) -> tuple[Tensor, Tensor]:
    # From the CPU's generator, whose state activation checkpointing restores before it computes a layer again.
    seed = torch.randint(2**62, (1,))
    b_OR = weight_OI.new_empty(weight_OI.shape[0], phi_IR.shape[1])
    for rows, block_OI in _dropped_blocks(weight_OI, seed, p):
        torch.mm(block_OI, phi_IR, out=b_OR[rows])
    return b_OR.div_(_kept(p)), seed


@_forward.register_fake
def _(weight_OI: Tensor, phi_IR: Tensor, p: float) -> tuple[Tensor, Tensor]:  # noqa: ARG001  # shapes only
    return weight_OI.new_empty(weight_OI.shape[0], phi_IR.shape[1]), torch.empty(1, dtype=torch.int64)


@torch.library.custom_op("wegeft::dropped_product_backward", mutates_args=())
def _backward(weight_OI: Tensor, grad_OR: Tensor, seed: Tensor, p: float) -> Tensor:
    grad_IR = weight_OI.new_zeros(weight_OI.shape[1], grad_OR.shape[1])
    for rows, block_OI in _dropped_blocks(weight_OI, seed, p):
        grad_IR.addmm_(block_OI.T, grad_OR[rows])
    return grad_IR.div_(_kept(p))


@_backward.register_fake
def _(weight_OI: Tensor, grad_OR: Tensor, seed: Tensor, p: float) -> Tensor:  # noqa: ARG001  # shapes only
    return weight_OI.new_empty(weight_OI.shape[1], grad_OR.shape[1])


def _remember(ctx: Any, inputs: tuple[Tensor, Tensor, float], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(inputs[0], output[1])
    ctx.p = inputs[2]


def _differentiate(ctx: Any, grad_OR: Tensor, _: None) -> tuple[None, Tensor, None]:
    weight_OI, seed = ctx.saved_tensors
    return None, _backward(weight_OI, grad_OR, seed, ctx.p), None


torch.library.register_autograd("wegeft::dropped_product", _differentiate, setup_context=_remember)
