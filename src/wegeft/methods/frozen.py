"""A frozen linear layer seen as y = W x + b, however it stores W.

Methods are written against `Frozen`; the layer's class matters here only: `nn.Linear`, `Conv1D` of GPT-2 (which stores
Wᵀ), a block of rows of a fused projection, and linear layers whose weight is quantised by torchao or bitsandbytes.

Does not: quantise anything, or hold parameters of its own; it refers to the layer and lives as long.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wegeft import products
from wegeft.models.quantised import dequantised, is_quantised, with_input_gradient

FUSED = ("qkv", "c_attn")
"""Last names of layers that hold the projections to queries, keys and values, a third of the rows each."""

FUSED_PARTS = ("q", "k", "v")


class Frozen:
    """View of an `nn.Linear`; the other classes override what they store differently.

    Attributes:
        layer: the module.
        in_features, out_features: I and O.
        is_quantised: reading ``weight`` computes it anew.
    """

    is_quantised = False

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.in_features, self.out_features = self.sizes(layer)
        self._plain: tuple[nn.Parameter, nn.Parameter | None] | None = None

    @staticmethod
    def sizes(layer: Any) -> tuple[int, int]:
        """(I, O) of the layer."""
        return layer.in_features, layer.out_features

    def __call__(self, x_NI: Tensor) -> Tensor:
        """W x + b, (..., O)."""
        y_NO: Tensor = self.layer(x_NI)
        return y_NO

    def product(self, x_NI: Tensor) -> Tensor:
        """W x without the bias, (..., O)."""
        return self.linear(x_NI, self.weight, None)

    def linear(self, x_NI: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
        """The product by the kernel of the layer, with a weight and a bias of its own."""
        by = products.product if isinstance(self.layer, products.Linear) else F.linear
        return by(x_NI, weight_OI, bias_O)

    @property
    def weight(self) -> Tensor:
        """W, (O, I), in the dtype of the computation."""
        weight_OI: Tensor = self.layer.weight
        return weight_OI

    @property
    def bias(self) -> Tensor | None:
        """The bias b, (O,)."""
        bias_O: Tensor | None = self.layer.bias
        return bias_O

    @property
    def device(self) -> torch.device:
        """Where the weight lies."""
        device: torch.device = self.layer.weight.device
        return device

    @property
    def is_folded(self) -> bool:
        """Whether the layer holds another weight than its own."""
        return self._plain is not None

    def fold(self, weight_OI: Tensor, bias_O: Tensor | None) -> None:
        """Let the layer hold this weight and bias, in its own dtype; its own are kept aside.

        New parameters and not new values: a weight that is tied to another module must not change there.
        """
        self._plain = self.layer.weight, self.layer.bias
        dtype = self.layer.weight.dtype
        self.layer.weight = nn.Parameter(self.stored(weight_OI).to(dtype), requires_grad=False)
        self._set_bias(None if bias_O is None else nn.Parameter(bias_O.to(dtype), requires_grad=False))

    def unfold(self) -> None:
        """Give the layer its own parameters back, where and in which dtype the layer is by now."""
        if self._plain is not None:
            move_like(self.layer.weight, self._plain)
            self.layer.weight, bias = self._plain
            self._set_bias(bias)
            self._plain = None

    def stored(self, weight_OI: Tensor) -> Tensor:
        """A weight (O, I) in the layout of the layer."""
        return weight_OI

    def _set_bias(self, bias: nn.Parameter | None) -> None:
        self.layer.register_parameter("bias", bias)


class TransposedLinear(Frozen):
    """View of transformers' `Conv1D`, whose weight is (I, O)."""

    @staticmethod
    def sizes(layer: Any) -> tuple[int, int]:
        """(I, O) of the layer."""
        d_in, d_out = layer.weight.shape
        return d_in, d_out

    @property
    def weight(self) -> Tensor:
        """W, (O, I), a view of what is stored."""
        weight_IO: Tensor = self.layer.weight
        return weight_IO.T

    def stored(self, weight_OI: Tensor) -> Tensor:
        """Wᵀ."""
        return weight_OI.T.contiguous()


class Rows(Frozen):
    """View of one part of a fused projection: a block of the rows of W and of b."""

    def __init__(self, fused: Frozen, index: int) -> None:
        size = fused.out_features // len(FUSED_PARTS)
        self.fused = fused
        self.rows = slice(index * size, (index + 1) * size)
        self.layer = fused.layer
        self.in_features, self.out_features = fused.in_features, size
        self.is_quantised = fused.is_quantised

    def __call__(self, x_NI: Tensor) -> Tensor:
        """W x + b, (..., O)."""
        return self.linear(x_NI, self.weight, self.bias)

    @property
    def weight(self) -> Tensor:
        """The rows of W, (O, I)."""
        return self.fused.weight[self.rows]

    @property
    def bias(self) -> Tensor | None:
        """The rows of b, (O,)."""
        return None if self.fused.bias is None else self.fused.bias[self.rows]


class QuantisedLinear(Frozen):
    """View of a linear layer whose weight is quantised; the layer's own kernel computes W x + b."""

    is_quantised = True

    def __call__(self, x_NI: Tensor) -> Tensor:
        """W x + b, (..., O)."""
        return with_input_gradient(self.layer, self.layer, x_NI)

    @property
    def weight(self) -> Tensor:
        """W dequantised, (O, I): computed anew at every reading."""
        return dequantised(self.layer)

    def product(self, x_NI: Tensor) -> Tensor:
        """W x without the bias, (..., O)."""
        return self(x_NI) if self.bias is None else self(x_NI) - self.bias


def move_like(weight: Tensor, kept_aside: Iterable[nn.Parameter | None]) -> None:
    """Move parameters kept aside, in place, to where ``weight`` has been moved meanwhile, and into its dtype."""
    for parameter in kept_aside:
        if parameter is not None:
            parameter.data = parameter.data.to(weight)


def view_of(layer: nn.Module) -> Frozen | None:
    """The view of a linear layer; None for any other module."""
    if isinstance(layer, nn.Linear):
        return QuantisedLinear(layer) if is_quantised(layer.weight) else Frozen(layer)
    if (type(layer).__module__, type(layer).__name__) == ("transformers.pytorch_utils", "Conv1D"):
        return TransposedLinear(layer)
    return None


def parts_of(name: str, view: Frozen) -> dict[str, Frozen]:
    """The parts of a fused projection by their names, ``<layer>.q`` and so on; empty for any other layer."""
    if name.rpartition(".")[2] not in FUSED or view.out_features % len(FUSED_PARTS):
        return {}
    return {f"{name}.{part}": Rows(view, index) for index, part in enumerate(FUSED_PARTS)}
