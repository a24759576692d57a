"""Attention of examples that lie one after the other in one row, each with itself alone.

transformers keeps such examples apart by a mask over all pairs of positions, most of which it hides: N² of them, where
the examples have Σ L². Here each example is attended on its own: in one kernel for all on a GPU (torch's
variable-length attention, 16-bit floats), one call per example elsewhere.

Does not: act where transformers' mask is needed, which is a sliding window, an attention of the model's own, or a
compiled layer, whose graph would depend on the lengths.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "flat"
"""What this attention is called in a model's configuration while it is at work."""


@contextmanager
def flat_attention(model: nn.Module) -> Iterator[None]:
    """Let a causal language model attend within examples only, whenever a batch has position ids and no mask.

    Other batches are attended as before.
    """
    unwrapped: Any = getattr(model, "module", model)
    if not _fits(unwrapped):
        yield
        return
    attention = _FlatAttention()
    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, attention.mask)
    unwrapped.set_attn_implementation(NAME)
    hook = unwrapped.base_model.register_forward_pre_hook(attention.read, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()
        unwrapped.set_attn_implementation("sdpa")


def _fits(model: Any) -> bool:
    config = getattr(model, "config", None)
    return (
        getattr(config, "_attn_implementation", None) == "sdpa"
        and getattr(model, "_supports_attention_backend", False)
        and getattr(config, "sliding_window", None) is None
    )


class _FlatAttention:
    """The attention function of every layer, and the bounds of the examples, read before the first layer."""

    def __init__(self) -> None:
        self._bounds_E: Tensor | None = None
        self._lengths: list[int] = []

    def read(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Bounds of the examples, from the position ids (1, N) that the backbone is called with."""
        del args
        positions_1N: Tensor | None = kwargs.get("position_ids")
        if positions_1N is None or kwargs.get("attention_mask") is not None:
            self._bounds_E = None
            return
        starts_E = (positions_1N[0] == 0).nonzero().flatten()
        self._bounds_E = F.pad(starts_E, (0, 1), value=positions_1N.shape[1]).int()
        self._lengths = self._bounds_E.diff().tolist()

    def mask(self, *args: Any, **kwargs: Any) -> Tensor | None:
        """What transformers asks for before the first layer: no mask for a flat batch."""
        return sdpa_mask(*args, **kwargs) if self._bounds_E is None else None

    def __call__(
        self,
        module: nn.Module,
        query_BHND: Tensor,
        key_BHND: Tensor,
        value_BHND: Tensor,
        attention_mask: Tensor | None,
        dropout: float = 0.0,
        scaling: float | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, None]:
        """What transformers calls: queries (B, H, N, D), keys and values of as many or fewer heads; (B, N, H, D)."""
        if self._bounds_E is None:
            return sdpa_attention_forward(
                module, query_BHND, key_BHND, value_BHND, attention_mask, dropout, scaling, **kwargs
            )
        if query_BHND.is_cuda and query_BHND.dtype.itemsize == 2 and not dropout:
            q, k, v = (tensor[0].transpose(0, 1).contiguous() for tensor in (query_BHND, key_BHND, value_BHND))
            bounds_E, longest, causal = self._bounds_E, max(self._lengths), (-1, 0)
            out_NHD = varlen_attn(
                q, k, v, bounds_E, bounds_E, longest, longest, scale=scaling, window_size=causal, enable_gqa=True
            )
            assert isinstance(out_NHD, Tensor)
            return out_NHD[None], None
        parts = (tensor.split(self._lengths, dim=2) for tensor in (query_BHND, key_BHND, value_BHND))
        attended = [
            F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=True)
            for q, k, v in zip(*parts, strict=True)
        ]
        return torch.cat(attended, dim=2).transpose(1, 2), None
