"""dropout(W) φ without keeping a dropped copy of W: the v5 weight dropout at the price of its random numbers.

The official code casts W to fp32, drops entries and keeps copy and mask until the backward pass. Here the mask is drawn
from a seed, row block by row block; the backward pass draws it again. Registered as an operator, so that
`torch.compile` treats it as a whole and never computes it twice.

Does not: reproduce the mask of the official code, which no seed could (another order of random numbers).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Entries of W whose mask is alive at a time: small enough to stay in a cache, large enough for one efficient product.
_BLOCK = 1 << 19


def dropped_product(weight_OI: Tensor, phi_IR: Tensor, p: float) -> Tensor:
    """dropout(W, p) φ with a new mask at each call, (O, R); gradients flow to φ only.

    Args:
        weight_OI: the frozen weight; never copied whole.
        phi_IR: the factor, in the dtype of the weight.
        p: probability that an entry of W is dropped, at most 0.99; those kept are divided by 1 - p, as in dropout.
    """
    b_OR: Tensor = _forward(weight_OI, phi_IR, p)[0]
    return b_OR


def _dropped_blocks(weight_OI: Tensor, seed: Tensor, p: float) -> Iterator[tuple[slice, Tensor]]:
    """Row blocks of W with entries dropped, each with its rows; the same for the same seed.

    A block lasts until the next one is asked for. An entry is dropped where its random byte is below 256 p. The whole
    part of that is the threshold of every column, and one more with the probability of its fraction, drawn anew for
    each block and column; so p is exact.
    """
    rows = min(max(1, _BLOCK // weight_OI.shape[1]), weight_OI.shape[0])
    starts = range(0, weight_OI.shape[0], rows)
    dropped_OI = weight_OI.new_empty(rows, weight_OI.shape[1])
    masks = _masks_on_gpu if weight_OI.is_cuda else _masks_on_cpu
    for start, kept_OI in zip(starts, masks(int(seed.item()), len(starts), dropped_OI, p), strict=True):
        block_OI = weight_OI[start : start + rows]
        count = block_OI.shape[0]
        yield slice(start, start + count), torch.mul(block_OI, kept_OI[:count], out=dropped_OI[:count])


def _masks_on_gpu(seed: int, blocks: int, like_OI: Tensor, p: float) -> Iterator[Tensor]:
    """Which entries of each block are kept; eight entries per random word."""
    (rows, width), device = like_OI.shape, like_OI.device
    generator = torch.Generator(device).manual_seed(seed)
    words_W = torch.empty(-(-rows * width // 8), dtype=torch.int64, device=device)
    for _ in range(blocks):
        bytes_E = words_W.random_(-(2**63), None, generator=generator).view(torch.uint8)
        more_I = torch.rand(width, generator=generator, device=device) < 256 * p % 1
        yield bytes_E[: rows * width].view(rows, width) >= int(256 * p) + more_I


def _masks_on_cpu(seed: int, blocks: int, like_OI: Tensor, p: float) -> Iterator[Tensor]:
    """The same as ones and zeros, by NumPy, which draws twice as fast as torch and compares twenty times as fast."""
    rows, width = like_OI.shape
    stream = np.random.SFC64(seed)
    generator = np.random.Generator(stream)
    kept_OI = torch.empty_like(like_OI)
    for _ in range(blocks):
        bytes_E = stream.random_raw(-(-rows * width // 8)).view(np.uint8)[: rows * width]
        more_I = generator.random(width) < 256 * p % 1
        mask_OI = bytes_E.reshape(rows, width) >= (int(256 * p) + more_I).astype(np.uint8)
        yield kept_OI.copy_(torch.from_numpy(mask_OI.view(np.uint8)))


@torch.library.custom_op("wegeft::dropped_product", mutates_args=(), tags=(torch.Tag.nondeterministic_seeded,))
def _forward(weight_OI: Tensor, phi_IR: Tensor, p: float) -> tuple[Tensor, Tensor]:
    # From the CPU's generator, whose state activation checkpointing restores before it computes a layer again.
    seed = torch.randint(2**62, (1,))
    b_OR = weight_OI.new_empty(weight_OI.shape[0], phi_IR.shape[1])
    for rows, block_OI in _dropped_blocks(weight_OI, seed, p):
        torch.mm(block_OI, phi_IR, out=b_OR[rows])
    return b_OR.div_(1 - p), seed


@_forward.register_fake
def _(weight_OI: Tensor, phi_IR: Tensor, p: float) -> tuple[Tensor, Tensor]:  # noqa: ARG001  # shapes only
    return weight_OI.new_empty(weight_OI.shape[0], phi_IR.shape[1]), torch.empty(1, dtype=torch.int64)


@torch.library.custom_op("wegeft::dropped_product_backward", mutates_args=())
def _backward(weight_OI: Tensor, grad_OR: Tensor, seed: Tensor, p: float) -> Tensor:
    grad_IR = weight_OI.new_zeros(weight_OI.shape[1], grad_OR.shape[1])
    for rows, block_OI in _dropped_blocks(weight_OI, seed, p):
        grad_IR.addmm_(block_OI.T, grad_OR[rows])
    return grad_IR.div_(1 - p)


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
