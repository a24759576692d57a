"""BitFit: only the biases of the linear layers are trained (Ben Zaken et al., arXiv 2106.10199).

``target_modules`` says which. The official vision code of WeGeFT trains those of the linear layers and neither those of
the norms nor that of the patch embedding, as the default does here; BitFit's own code trains all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from wegeft.methods.base import MethodConfig
from wegeft.methods.frozen import Frozen
from wegeft.methods.linear import LinearMethod, LinearMethodConfig, LinearUpdate, Site, cast_like, wide_dtype


class BitFitConfig(LinearMethodConfig):
    """Keys of BitFit.

    Attributes:
        targets: the linear layers of each family of backbones, which ``target_modules`` refers to; unused by the code.
    """

    targets: dict[str, tuple[str, ...]]


class BitFitUpdate(LinearUpdate):
    """y = W x + b + β, β of shape (O,): the bias b + β is what is trained, from b on, as β starts at zero.

    The same gradients and, since vectors have no weight decay, the same steps as training b itself; a layer without a
    bias gets one.
    """

    def __init__(self, base: Frozen) -> None:
        super().__init__()
        self.shift_O = nn.Parameter(torch.zeros(base.out_features, device=base.device))

    def forward(self, base: Frozen, x_NI: Tensor) -> Tensor:
        """(..., I) to (..., O)."""
        (shift_O,) = cast_like(x_NI, self.shift_O)
        return base(x_NI) + shift_O

    def merged(self, base: Frozen) -> tuple[Tensor, Tensor | None]:
        """(W, b + β)."""
        dtype = wide_dtype(base.weight)
        shift_O = self.shift_O.to(dtype)
        return base.weight.to(dtype), shift_O if base.bias is None else base.bias.to(dtype) + shift_O


class BitFit(LinearMethod):
    """One vector per layer."""

    Config: ClassVar[type[MethodConfig]] = BitFitConfig
    config: BitFitConfig

    def build_update(self, sites: Sequence[Site]) -> BitFitUpdate:
        """The vector of the one layer of the group."""
        return BitFitUpdate(sites[0].base)
