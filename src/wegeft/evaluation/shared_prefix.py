"""The ids that all prompts of a test set begin with, run through the model once instead of once per prompt.

A batch starts from a copy of their keys and values; its padding lies between them and the rest of each prompt. That is
exact where attention looks at the mask and at ``position_ids`` alone: the padding is masked, and every token has the
position that it has without padding. :func:`prefix_of` returns None for a model of which that is not known.

Does not: generate, or choose what is batched together beyond which test sets are kept apart.
"""

import inspect
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache, DynamicLayer

from wegeft.tasks.encoding import TextEncoder

WORTH = 0.1
"""Part of all prompt tokens that must be spared: less is lost again in the attention over a cache and its copies."""
BATCHES_APART = 2
"""A test set is batched by itself only if it fills so many batches: each set leaves one batch that is not full."""
MOVING_ROPE = {"dynamic", "longrope"}
"""RoPE whose frequencies depend on the length of the input, so that keys of a shorter one are others."""


@dataclass(frozen=True)
class Prefix:
    """Keys and values of the ids that a group of prompts begins with.

    Attributes:
        length: how many ids.
        layers: (keys, values) of each layer, both (1, H, length, D).
    """

    length: int
    layers: tuple[tuple[Tensor, Tensor], ...]

    def cache(self, rows: int) -> DynamicCache:
        """A cache for ``rows`` prompts; their first pass copies it, so the prefix itself stays as it is."""
        cache = DynamicCache()
        for keys_1HPD, values_1HPD in self.layers:
            layer = DynamicLayer()
            layer.lazy_initialization(keys_1HPD, values_1HPD)
            layer.keys, layer.values = (x.expand(rows, -1, -1, -1) for x in (keys_1HPD, values_1HPD))
            cache.layers.append(layer)
        return cache


@dataclass(frozen=True)
class Group:
    """Prompts that are batched among themselves.

    Attributes:
        positions: of the prompts, in their order.
        shared: how many ids all of them begin with; 0 where sharing them is not worth it.
    """

    positions: tuple[int, ...]
    shared: int


def grouped(prompts_ids: Sequence[list[int]], sets: Sequence[Hashable], batch_size: int) -> list[Group]:
    """All prompts together, but for test sets that are large and have far more ids in common by themselves.

    Args:
        prompts_ids: not padded.
        sets: for each prompt, the test set that it is of.
        batch_size: prompts decoded together.
    """
    by_set: dict[Hashable, list[int]] = {}
    for position, name in enumerate(sets):
        by_set.setdefault(name, []).append(position)
    together = common(prompts_ids)
    apart = [
        positions
        for positions in by_set.values()
        if len(positions) >= BATCHES_APART * batch_size
        and _is_worth(common([prompts_ids[p] for p in positions]) - together, [prompts_ids[p] for p in positions])
    ]
    taken = {position for positions in apart for position in positions}
    rest = [position for position in range(len(prompts_ids)) if position not in taken]
    return [_group(positions, prompts_ids) for positions in (*apart, rest) if positions]


def _group(positions: Sequence[int], prompts_ids: Sequence[list[int]]) -> Group:
    own = [prompts_ids[position] for position in positions]
    shared = common(own)
    return Group(tuple(positions), shared if _is_worth(shared, own) else 0)


def common(prompts_ids: Sequence[list[int]]) -> int:
    """How many ids all prompts begin with; at least one of every prompt comes after them."""
    if not prompts_ids:
        return 0
    first, last = min(prompts_ids), max(prompts_ids)  # in the order of a dictionary the others lie between them
    most = min(map(len, prompts_ids)) - 1
    return next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b or i == most), most)


def _is_worth(length: int, prompts_ids: Sequence[list[int]]) -> bool:
    """Whether running ``length`` ids once instead of for every prompt spares :data:`WORTH` of their tokens."""
    return length * (len(prompts_ids) - 1) >= WORTH * sum(map(len, prompts_ids)) > 0


@torch.inference_mode()
def prefix_of(model: nn.Module, encoder: TextEncoder, ids: list[int]) -> Prefix | None:
    """``ids``, which prompts begin with, run through ``model``; None where a batch cannot start from them."""
    if not ids or not _reads_positions(model):
        return None
    device = next(model.parameters()).device
    batch = encoder.collate_prompts([ids])
    output: Any = model(**{name: tensor.to(device) for name, tensor in batch.items()}, use_cache=True)
    cache = output.past_key_values
    # Exactly these classes: what derives from them drops, quantises or moves entries, or holds a recurrent state.
    if type(cache) is not DynamicCache or any(type(layer) is not DynamicLayer for layer in cache.layers):
        return None
    layers: list[Any] = cache.layers
    if any(layer.get_seq_length() != len(ids) for layer in layers):
        return None
    return Prefix(len(ids), tuple((layer.keys, layer.values) for layer in layers))


def _reads_positions(model: nn.Module) -> bool:
    """Whether attention depends on the mask and on ``position_ids``, and not on the place of an entry in the cache.

    A sliding window or a chunk counts places, padding included; ALiBi and relative biases may; moving RoPE frequencies
    make keys depend on what follows.
    """
    config: Any = getattr(model, "config", None)
    if "position_ids" not in inspect.signature(model.forward).parameters or config is None:
        return False
    text = config.get_text_config(decoder=True)
    kinds = getattr(text, "layer_types", None)
    if kinds is None and (getattr(text, "sliding_window", None) or getattr(text, "attention_chunk_size", None)):
        return False
    if any(kind != "full_attention" for kind in kinds or ()) or getattr(text, "alibi", False):
        return False
    return not MOVING_ROPE & _rope_types(getattr(text, "rope_parameters", None) or {})


def _rope_types(parameters: Mapping[str, Any]) -> set[str]:
    """Kinds of RoPE, which some models have one of for each kind of layer."""
    nested = [value for value in parameters.values() if isinstance(value, Mapping)]
    own = {str(parameters["rope_type"])} if "rope_type" in parameters else set()
    return own.union(*map(_rope_types, nested))
