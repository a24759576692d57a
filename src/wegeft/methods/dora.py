"""DoRA: LoRA on the direction of every weight row, and its length trained apart (Liu et al., arXiv 2402.09353)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wegeft.methods.base import MethodConfig
from wegeft.methods.frozen import Frozen
from wegeft.methods.linear import (
    LinearMethod,
    LinearUpdate,
    Site,
    cast_like,
    check_rank,
    uniform,
    wide_dtype,
    without_autocast,
    zeros,
)
from wegeft.methods.lora import LoRAConfig
from wegeft.products import add_product, product


class DoRAUpdate(LinearUpdate):
    """W' = diag(m/n)(W + s·BA) with n = ‖W + s·BA‖ per output row, taken as a constant in the backward pass.

    A and B start as in LoRA and m as ‖W‖ per row, so the layer starts unchanged. The paper calls the norm column-wise;
    both its code and PEFT take it over the input dimension of the (O, I) matrix, as here. With dropout on x,

        y = W x + b + (m/n - 1) W dropout(x) + (m/n) s B A dropout(x),

    as in NVlabs/DoRA and PEFT: the dropout also reaches the frozen weight, but only in what DoRA changes.

    The norm needs no O × I matrix: n² = ‖W‖² + 2s·(WAᵀ ⊙ B)1 + s²·(B(AAᵀ) ⊙ B)1 per row.
    """

    row_square_O: Tensor

    def __init__(self, config: LoRAConfig, base: Frozen) -> None:
        super().__init__()
        device = base.device
        self.a_RI = uniform((config.r, base.in_features), base.in_features, device, torch.float32)
        self.b_OR = zeros((base.out_features, config.r), device, torch.float32)
        self.register_buffer("row_square_O", _row_square_O(base.weight), persistent=False)
        self.m_O = nn.Parameter(self.row_square_O.sqrt())
        self.scale = config.scale
        self.dropout = config.dropout

    def forward(self, base: Frozen, x_NI: Tensor) -> Tensor:
        """(..., I) to (..., O)."""
        gain_O = self.m_O / self._norm_O(base.weight)
        y_NO, bias_O = base(x_NI), base.bias
        dropped = self.dropout > 0 and self.training
        if y_NO.dtype.itemsize >= torch.float32.itemsize and bias_O is None and not dropped:
            gain_O, a_RI, b_OR = cast_like(x_NI, gain_O, self.a_RI, self.b_OR)
            return gain_O * add_product(y_NO, product(x_NI, a_RI) * self.scale, b_OR)  # the fewest passes over y
        # A gain near one would be rounded by 0.4 % in bf16; what it changes, m/n - 1, is rounded by 0.4 % of itself.
        (excess_O,) = cast_like(y_NO, gain_O - 1)
        a_RI, b_OR = cast_like(x_NI, self.a_RI, gain_O[:, None] * self.b_OR)
        plain_NO = y_NO
        if dropped:
            x_NI = F.dropout(x_NI, self.dropout)
            plain_NO, bias_O = base.product(x_NI), None
        bias_O = None if bias_O is None else -excess_O * bias_O
        change_NO = product(product(x_NI, a_RI) * self.scale, b_OR, bias_O)
        return y_NO + torch.addcmul(change_NO, excess_O, plain_NO)

    @torch.no_grad()
    def _norm_O(self, weight_OI: Tensor) -> Tensor:
        """‖W + s·BA‖ per output row, (O,), in at least fp32 but for W Aᵀ, which has the dtype of W."""
        dtype = _norm_dtype(weight_OI)
        if self.row_square_O.dtype != dtype:  # the model has been cast
            self.row_square_O = _row_square_O(weight_OI)
        a_RI, b_OR = self.a_RI.to(dtype), self.b_OR.to(dtype)
        with without_autocast(weight_OI):
            projected_OR = product(weight_OI, a_RI.to(weight_OI.dtype)).to(dtype)
            cross_O = (projected_OR * b_OR).sum(1)
            square_O = (b_OR @ (a_RI @ a_RI.T) * b_OR).sum(1)
        return (self.row_square_O + 2 * self.scale * cross_O + self.scale**2 * square_O).sqrt()

    def merged(self, base: Frozen) -> tuple[Tensor, Tensor | None]:
        """(diag(m/n)(W + s·BA), bias)."""
        dtype = wide_dtype(base.weight)
        a_RI, b_OR, m_O = self.a_RI.to(dtype), self.b_OR.to(dtype), self.m_O.to(dtype)
        direction_OI = torch.addmm(base.weight.to(dtype), b_OR, a_RI, alpha=self.scale)
        gain_O = m_O / torch.linalg.vector_norm(direction_OI, dim=1)
        return gain_O[:, None] * direction_OI, base.bias


class DoRA(LinearMethod):
    """One set of factors and lengths per layer."""

    Config: ClassVar[type[MethodConfig]] = LoRAConfig
    config: LoRAConfig

    def build_update(self, sites: Sequence[Site]) -> DoRAUpdate:
        """Factors and lengths for the one layer of the group."""
        base = sites[0].base
        check_rank(self.config.r, min(base.in_features, base.out_features), sites[0].name)
        return DoRAUpdate(self.config, base)


def _row_square_O(weight_OI: Tensor) -> Tensor:
    """‖W‖² per output row, (O,)."""
    length_O: Tensor = torch.linalg.vector_norm(weight_OI.detach(), dim=1, dtype=_norm_dtype(weight_OI))
    return length_O.square()


def _norm_dtype(weight: Tensor) -> torch.dtype:
    """At least fp32."""
    return torch.promote_types(weight.dtype, torch.float32)
