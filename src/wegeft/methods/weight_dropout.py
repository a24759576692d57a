"""Products of φ with the entries of W that weight dropout keeps or drops, without a dropped copy of W.

    dropout(W) φ = (W ⊙ kept) φ / (1 - p) = (W φ - (W ⊙ dropped) φ) / (1 - p)

The official code casts W to fp32, drops entries and keeps copy and mask until the backward pass. Here the mask is drawn
from a seed, row block by row block; the backward pass draws it again. On a CPU only the dropped entries of a large W
are touched: the gaps between them are drawn, and what is found there is multiplied as a sparse matrix, several blocks
at a time. Registered as an operator, so that `torch.compile` treats it as a whole and never computes it twice.

Does not: reproduce the mask of the official code, which no seed could (another order of random numbers).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy import sparse
from torch import Tensor

from wegeft.products import add_product

# Entries of W whose mask is alive at a time: large enough for calls to cost little, small enough for a cache.
_BLOCK = 1 << 21

# Below, finding the dropped entries takes longer than drawing a mask for all.
_SPARSE_FROM = 1 << 18


def is_sparse(device: torch.device, entries: int) -> bool:
    """Whether a weight of so many entries has its dropped ones found; else the kept ones cost no more."""
    return device.type == "cpu" and entries >= _SPARSE_FROM


def kept_product(weight_OI: Tensor, phi_IR: Tensor, p: float) -> Tensor:
    """(W ⊙ kept) φ with a new mask at each call, (O, R); gradients flow to φ only.

    Args:
        weight_OI: the frozen weight; never copied whole.
        phi_IR: the factor, in the dtype of the weight.
        p: probability that an entry of W is dropped, above 0 and at most 0.99.
    """
    b_OR: Tensor = _forward(weight_OI, phi_IR, p, True)[0]
    return b_OR


def dropped_product(weight_OI: Tensor, phi_IR: Tensor, p: float) -> Tensor:
    """(W ⊙ dropped) φ, W φ less `kept_product` for the same mask; takes and returns the same."""
    b_OR: Tensor = _forward(weight_OI, phi_IR, p, False)[0]
    return b_OR


@torch.library.custom_op("wegeft::masked_product", mutates_args=(), tags=(torch.Tag.nondeterministic_seeded,))
def _forward(weight_OI: Tensor, phi_IR: Tensor, p: float, kept: bool) -> tuple[Tensor, Tensor]:
    # From the CPU's generator, whose state activation checkpointing restores before it computes a layer again.
    seed = torch.randint(2**62, (1,))
    if not is_sparse(weight_OI.device, weight_OI.numel()):
        b_OR = weight_OI.new_empty(weight_OI.shape[0], phi_IR.shape[1])
        for rows, block_OI in _masked_blocks(weight_OI, int(seed.item()), p, kept):
            torch.mm(block_OI, phi_IR, out=b_OR[rows])
        return b_OR, seed
    dropped_OR = _SparseMask(weight_OI, int(seed.item()), p).product(phi_IR)
    return add_product(-dropped_OR, weight_OI, phi_IR.detach().T) if kept else dropped_OR, seed


@_forward.register_fake
def _(weight_OI: Tensor, phi_IR: Tensor, p: float, kept: bool) -> tuple[Tensor, Tensor]:  # noqa: ARG001  # shapes only
    return weight_OI.new_empty(weight_OI.shape[0], phi_IR.shape[1]), torch.empty(1, dtype=torch.int64)


@torch.library.custom_op("wegeft::masked_product_backward", mutates_args=())
def _backward(weight_OI: Tensor, grad_OR: Tensor, seed: Tensor, p: float, kept: bool) -> Tensor:
    if not is_sparse(weight_OI.device, weight_OI.numel()):
        # In fp32 at least: a sum over blocks in a short format would be rounded once for each of them.
        wide = torch.promote_types(weight_OI.dtype, torch.float32)
        grad_IR = weight_OI.new_zeros(weight_OI.shape[1], grad_OR.shape[1], dtype=wide)
        for rows, block_OI in _masked_blocks(weight_OI, int(seed.item()), p, kept):
            grad_IR += block_OI.T @ grad_OR[rows]
        return grad_IR.to(weight_OI.dtype)
    dropped_IR = _SparseMask(weight_OI, int(seed.item()), p).transposed_product(grad_OR)
    return add_product(-dropped_IR.T, grad_OR.T, weight_OI.T).T if kept else dropped_IR


@_backward.register_fake
def _(weight_OI: Tensor, grad_OR: Tensor, seed: Tensor, p: float, kept: bool) -> Tensor:  # noqa: ARG001  # shapes only
    return weight_OI.new_empty(weight_OI.shape[1], grad_OR.shape[1])


def _remember(ctx: Any, inputs: tuple[Tensor, Tensor, float, bool], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(inputs[0], output[1])
    ctx.options = inputs[2:]


def _differentiate(ctx: Any, grad_OR: Tensor, _: None) -> tuple[None, Tensor, None, None]:
    weight_OI, seed = ctx.saved_tensors
    return None, _backward(weight_OI, grad_OR, seed, *ctx.options), None, None


torch.library.register_autograd("wegeft::masked_product", _differentiate, setup_context=_remember)


def _blocks(weight_OI: Tensor) -> list[slice]:
    """Blocks of whole rows of about `_BLOCK` entries."""
    height, width = weight_OI.shape
    rows = min(max(1, _BLOCK // width), height)
    return [slice(start, min(start + rows, height)) for start in range(0, height, rows)]


Entries = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[Any]]
"""Of a sparse matrix in compressed rows: the column of each entry, where each row begins and the last ends, values."""


class _SparseMask:
    """The dropped entries of W on a CPU, drawn block by block whenever they are asked for; the same for one seed."""

    def __init__(self, weight_OI: Tensor, seed: int, p: float) -> None:
        self.weight_OI, self.seed, self.p = weight_OI, seed, p
        self.blocks = _blocks(weight_OI)
        # Short formats have neither a sparse product nor the precision to add many entries up.
        self.dtype = torch.promote_types(weight_OI.dtype, torch.float32)

    def product(self, phi_IR: Tensor) -> Tensor:
        """(W ⊙ dropped) φ, (O, R)."""
        wide_IR = phi_IR.detach().to(self.dtype).contiguous()  # threads of their own have grad mode on
        parts = _in_threads(lambda number: _product(self._entries(number), wide_IR), len(self.blocks))
        return torch.cat(list(parts)).to(phi_IR.dtype)

    def transposed_product(self, grad_OR: Tensor) -> Tensor:
        """(W ⊙ dropped)ᵀ G, (I, R)."""
        width = self.weight_OI.shape[1]
        wide_OR = grad_OR.detach().to(self.dtype).contiguous()

        def part(number: int) -> Tensor:
            return _product(_transposed(self._entries(number), width), wide_OR[self.blocks[number]])

        grad_IR = wide_OR.new_zeros(width, grad_OR.shape[1])
        for part_IR in _in_threads(part, len(self.blocks)):
            grad_IR += part_IR
        return grad_IR.to(grad_OR.dtype)

    def _entries(self, number: int) -> Entries:
        """The dropped entries of a block, whose random stream is its own."""
        block_OI = self.weight_OI[self.blocks[number]]
        height, width = block_OI.shape
        positions = drop_positions(np.random.SFC64([self.seed, number]), height * width, self.p)
        starts = np.arange(0, (height + 1) * width, width, dtype=np.int32)
        offsets = np.searchsorted(positions, starts).astype(np.int32)
        columns = positions - np.repeat(starts[:-1], np.diff(offsets))
        values = block_OI.reshape(-1).index_select(0, torch.from_numpy(positions))
        return columns, offsets, values.to(self.dtype).numpy()


def _in_threads(compute: Callable[[int], Tensor], count: int) -> Iterator[Tensor]:
    """``compute(0)`` to ``compute(count - 1)`` in this order, on as many threads as torch may use.

    Most of what is done to find dropped entries runs on one thread, so that several blocks at a time keep all busy.
    Until the last is taken torch has one thread here as well: OpenMP's, once woken, spin on those processors.
    """
    threads = torch.get_num_threads()
    if min(threads, count) == 1:
        yield from map(compute, range(count))
        return
    torch.set_num_threads(1)
    try:
        yield from _pool(threads).map(compute, range(count))
    finally:
        torch.set_num_threads(threads)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads to which torch gives no further ones."""
    return ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))


os.register_at_fork(after_in_child=_pool.cache_clear)  # a child has none of the threads


def _product(entries: Entries, phi_IR: Tensor) -> Tensor:
    """The sparse matrix of these entries times φ, (rows, R): each row a weighted sum of rows of φ."""
    columns, offsets, values = (torch.from_numpy(array) for array in entries)
    return F.embedding_bag(columns, phi_IR, offsets, mode="sum", per_sample_weights=values, include_last_offset=True)


def _transposed(entries: Entries, width: int) -> Entries:
    """The entries of the transposed matrix, whose rows are the ``width`` columns."""
    columns, offsets, values = entries
    turned = sparse.csr_array((values, columns, offsets), shape=(len(offsets) - 1, width)).tocsc()
    return turned.indices, turned.indptr, turned.data


_LONGEST_GAP = 4096
_WORDS = 1 << 16


class _Gaps(NamedTuple):
    """How far it is to the next dropped entry: geometrically distributed.

    Attributes:
        of_word: for every 16-bit word.
        longer: from this word on it is ``of_word`` and another gap besides, since the distribution has no memory.
    """

    of_word: npt.NDArray[np.int32]
    longer: int


@cache
def _gaps(p: float) -> _Gaps:
    lengths = np.arange(1, _LONGEST_GAP + 1)
    words_up_to = np.minimum(np.round(-np.expm1(lengths * np.log1p(-p)) * _WORDS), _WORDS - 1)
    longer = int(words_up_to[-1])
    longest = np.searchsorted(words_up_to, longer) + 1
    of_word = np.searchsorted(words_up_to, np.arange(_WORDS), side="right") + 1
    return _Gaps(np.minimum(of_word, longest).astype(np.int32), longer)


def drop_positions(stream: np.random.SFC64, entries: int, p: float) -> npt.NDArray[np.int32]:
    """Which of so many entries are dropped, ascending; p is the probability of each, whatever becomes of the others.

    Two bytes of the stream for each dropped entry, instead of one for every entry. Gaps are drawn in steps of 2⁻¹⁶ of
    probability, so that the share of dropped entries is p to about 1e-5 of it (2e-5 at p = 0.99).
    """
    gaps = _gaps(p)
    found: list[npt.NDArray[np.int32]] = []
    reached = 0
    while reached < entries:
        expected = (entries - reached) * p
        count = round(expected + 6 * expected**0.5) + 8  # six standard deviations more than it takes
        words = stream.random_raw(-(-count // 4)).view(np.uint16)
        drawn = gaps.of_word.take(words, mode="wrap")
        longer = np.flatnonzero(words >= gaps.longer)
        more = np.random.Generator(stream).geometric(p, len(longer))
        drawn[longer] += np.minimum(more, entries).astype(np.int32)
        np.cumsum(drawn, out=drawn)
        drawn += np.int32(reached - 1)
        reached = int(drawn[-1]) + 1
        found.append(drawn)
    positions = found[0] if len(found) == 1 else np.concatenate(found)
    return positions[: np.searchsorted(positions, entries)]


def _masked_blocks(weight_OI: Tensor, seed: int, p: float, kept: bool) -> Iterator[tuple[slice, Tensor]]:
    """Row blocks of W, either the kept or the dropped entries left; a block is overwritten by the next.

    A random byte per entry. An entry is dropped where its random byte is below 256 p. The whole part of that is
    the threshold of every column, and one more with the probability of its fraction, drawn anew for each block and
    column; so p is exact.
    """
    blocks, device = _blocks(weight_OI), weight_OI.device
    rows, width = blocks[0].stop, weight_OI.shape[1]
    masked_OI = weight_OI.new_empty(rows, width)
    for block, (bytes_E, uniform_I) in zip(blocks, _random(seed, rows * width, width, device), strict=False):
        threshold_I = (int(256 * p) + (uniform_I < 256 * p % 1)).to(torch.uint8)
        bytes_OI = bytes_E.view(rows, width)[: block.stop - block.start]
        mask_OI = bytes_OI >= threshold_I if kept else bytes_OI < threshold_I
        yield block, torch.mul(weight_OI[block], mask_OI, out=masked_OI[: block.stop - block.start])


def _random(seed: int, entries: int, width: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Without end, so many random bytes, uint8, and ``width`` numbers from 0 to 1; either may be overwritten later."""
    words = -(-entries // 8)
    if device.type == "cpu":  # NumPy draws faster
        stream = np.random.SFC64(seed)
        while True:
            bytes_E = torch.from_numpy(stream.random_raw(words).view(np.uint8))
            yield bytes_E[:entries], torch.from_numpy(np.random.Generator(stream).random(width))
    generator = torch.Generator(device).manual_seed(seed)
    words_W = torch.empty(words, dtype=torch.int64, device=device)
    while True:
        bytes_E = words_W.random_(-(2**63), None, generator=generator).view(torch.uint8)
        yield bytes_E[:entries], torch.rand(width, generator=generator, device=device)
