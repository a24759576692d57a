"""dropout(W) φ without keeping a dropped copy of W: the v5 weight dropout at the price of its random numbers.

The official code casts W to fp32, drops entries and keeps copy and mask until the backward pass. Here the mask is drawn
from a seed, row block by row block; the backward pass draws it again. Registered as an operator, so that
`torch.compile` treats it as a whole and never computes it twice.

Does not: reproduce the mask of the official code, which no seed could (another order of random numbers).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
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


# What is done with the rows of W that a worker has drawn: (worker, rows, those rows with entries dropped).
_Use = Callable[[int, slice, Tensor], Any]


def _each_block(weight_OI: Tensor, seed: Tensor, p: float, use: _Use) -> None:
    """Give `use` row blocks of W with entries dropped; the same for the same seed.

    An entry is dropped where its random byte is below 256 p. The whole part of that is the threshold of every column,
    and one more with the probability of its fraction, drawn anew for each block and column; so p is exact. A block is
    overwritten by the worker's next one.
    """
    height, width = weight_OI.shape
    rows = min(max(1, _BLOCK // width), height)
    blocks = [slice(start, min(start + rows, height)) for start in range(0, height, rows)]
    if weight_OI.is_cuda:
        _blocks_on_gpu(weight_OI, blocks, int(seed.item()), p, use)
        return

    def work(worker: int) -> None:
        mine = range(worker, len(blocks), workers)
        # Grad mode belongs to a thread; the gradient of all this is an operator of its own.
        with torch.no_grad():
            _blocks_on_cpu(weight_OI, blocks, mine, int(seed.item()), p, partial(use, worker))

    workers = _workers(weight_OI)
    if workers == 1:
        work(0)
        return
    threads = torch.get_num_threads()
    # The mask is drawn by one thread, so that products shared by all threads would leave the others idle meanwhile.
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            list(pool.map(work, range(workers)))
    finally:
        # What a worker sets is also what threads started later begin with.
        torch.set_num_threads(threads)


def _workers(weight_OI: Tensor) -> int:
    """How many blocks are in work at the same time."""
    return 1 if weight_OI.is_cuda else min(torch.get_num_threads(), -(-weight_OI.numel() // _BLOCK))


def _blocks_on_gpu(weight_OI: Tensor, blocks: list[slice], seed: int, p: float, use: _Use) -> None:
    """Eight entries per random word."""
    rows, width, device = blocks[0].stop, weight_OI.shape[1], weight_OI.device
    generator = torch.Generator(device).manual_seed(seed)
    words_W = torch.empty(-(-rows * width // 8), dtype=torch.int64, device=device)
    dropped_OI = weight_OI.new_empty(rows, width)
    for block in blocks:
        bytes_E = words_W.random_(-(2**63), None, generator=generator).view(torch.uint8)
        more_I = torch.rand(width, generator=generator, device=device) < 256 * p % 1
        kept_OI = bytes_E[: rows * width].view(rows, width) >= int(256 * p) + more_I
        count = block.stop - block.start
        use(0, block, torch.mul(weight_OI[block], kept_OI[:count], out=dropped_OI[:count]))


def _blocks_on_cpu(
    weight_OI: Tensor, blocks: list[slice], mine: range, seed: int, p: float, use: Callable[[slice, Tensor], Any]
) -> None:
    """A worker's blocks, each with a random stream of its own, so that the mask does not depend on the workers.

    By NumPy, which draws twice as fast as torch and compares twenty times as fast.
    """
    rows, width = blocks[0].stop, weight_OI.shape[1]
    kept_OI, dropped_OI = weight_OI.new_empty(rows, width), weight_OI.new_empty(rows, width)
    for number in mine:
        stream = np.random.SFC64([seed, number])
        bytes_E = stream.random_raw(-(-rows * width // 8)).view(np.uint8)[: rows * width]
        more_I = np.random.Generator(stream).random(width) < 256 * p % 1
        mask_OI = bytes_E.reshape(rows, width) >= (int(256 * p) + more_I).astype(np.uint8)
        kept_OI.copy_(torch.from_numpy(mask_OI.view(np.uint8)))
        block = blocks[number]
        count = block.stop - block.start
        use(block, torch.mul(weight_OI[block], kept_OI[:count], out=dropped_OI[:count]))


@torch.library.custom_op("wegeft::dropped_product", mutates_args=(), tags=(torch.Tag.nondeterministic_seeded,))
def _forward(weight_OI: Tensor, phi_IR: Tensor, p: float) -> tuple[Tensor, Tensor]:
    # From the CPU's generator, whose state activation checkpointing restores before it computes a layer again.
    seed = torch.randint(2**62, (1,))
    b_OR = weight_OI.new_empty(weight_OI.shape[0], phi_IR.shape[1])
    _each_block(weight_OI, seed, p, lambda _, rows, block_OI: torch.mm(block_OI, phi_IR, out=b_OR[rows]))
    return b_OR.div_(1 - p), seed


@_forward.register_fake
def _(weight_OI: Tensor, phi_IR: Tensor, p: float) -> tuple[Tensor, Tensor]:  # noqa: ARG001  # shapes only
    return weight_OI.new_empty(weight_OI.shape[0], phi_IR.shape[1]), torch.empty(1, dtype=torch.int64)


@torch.library.custom_op("wegeft::dropped_product_backward", mutates_args=())
def _backward(weight_OI: Tensor, grad_OR: Tensor, seed: Tensor, p: float) -> Tensor:
    partial_KIR = weight_OI.new_zeros(_workers(weight_OI), weight_OI.shape[1], grad_OR.shape[1])
    _each_block(weight_OI, seed, p, lambda k, rows, block_OI: partial_KIR[k].addmm_(block_OI.T, grad_OR[rows]))
    return partial_KIR.sum(0).div_(1 - p)


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
