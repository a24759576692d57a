"""RED: a scale and a shift on the output of every feed-forward block (Wu et al., arXiv 2402.15179)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from wegeft.methods.base import MethodConfig
from wegeft.methods.frozen import Frozen
from wegeft.methods.linear import LinearMethod, LinearMethodConfig, LinearUpdate, Site, scale_and_shift, wide_dtype


class REDConfig(LinearMethodConfig):
    """Keys of RED.

    Attributes:
        targets: the last layer of the feed-forward block in each family of backbones, which ``target_modules``
            refers to; unused by the code.
    """

    targets: dict[str, tuple[str, ...]]


class REDUpdate(LinearUpdate):
    """y = l ⊙ (W x + b) + β, l and β of shape (O,); merged: weight diag(l)W, bias l ⊙ b + β.

    l starts at one and β at zero (mlwu22/RED), so the layer starts unchanged. Merging gives a bias to a layer that
    has none.
    """

    def __init__(self, base: Frozen) -> None:
        super().__init__()
        shape, device = (base.out_features,), base.device
        self.scale_O = nn.Parameter(torch.ones(shape, device=device))
        self.shift_O = nn.Parameter(torch.zeros(shape, device=device))

    def forward(self, base: Frozen, x_NI: Tensor) -> Tensor:
        """(..., I) to (..., O)."""
        return scale_and_shift(base(x_NI), self.scale_O, self.shift_O)

    def merged(self, base: Frozen) -> tuple[Tensor, Tensor | None]:
        """(diag(l)W, l ⊙ b + β)."""
        dtype = wide_dtype(base.weight)
        scale_O, shift_O = self.scale_O.to(dtype), self.shift_O.to(dtype)
        shifted_O = shift_O if base.bias is None else torch.addcmul(shift_O, scale_O, base.bias.to(dtype))
        return scale_O[:, None] * base.weight.to(dtype), shifted_O


class RED(LinearMethod):
    """One scale and one shift per feed-forward block."""

    Config: ClassVar[type[MethodConfig]] = REDConfig
    config: REDConfig

    def build_update(self, sites: Sequence[Site]) -> REDUpdate:
        """Vectors for the one layer of the group."""
        return REDUpdate(sites[0].base)
