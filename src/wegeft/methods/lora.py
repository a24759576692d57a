"""LoRA: a low-rank matrix beside every frozen weight (Hu et al., arXiv 2106.09685)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from wegeft.methods.base import MethodConfig
from wegeft.methods.frozen import Frozen
from wegeft.methods.linear import (
    LinearMethod,
    LinearMethodConfig,
    LowRankUpdate,
    Site,
    cast_like,
    check_rank,
    uniform,
    wide_dtype,
    zeros,
)
from wegeft.products import add_product, product


class LoRAConfig(LinearMethodConfig):
    """Keys of LoRA.

    Attributes:
        by_family, ranks, alphas: values per kind of backbone and per scale, which the other keys refer to; unused by
            the code.
        r: rank.
        alpha: numerator of the scale.
        scaling: s = α/r (the paper), or α/√r, which keeps the size of the output when r grows (rsLoRA, 2312.03732).
        dropout: probability of dropping an input of the low-rank branch, while training.
    """

    by_family: dict[str, dict[str, object]] = Field(default_factory=dict)
    ranks: dict[str, int]
    alphas: dict[str, float]
    r: int = Field(ge=1)
    alpha: float = Field(gt=0)
    scaling: Literal["alpha_over_r", "alpha_over_sqrt_r"]
    dropout: float = Field(ge=0, lt=1)

    @property
    def scale(self) -> float:
        """The factor s before the low-rank product."""
        return self.alpha / (self.r if self.scaling == "alpha_over_r" else math.sqrt(self.r))


class LoRAUpdate(LowRankUpdate):
    """y = W x + b + s·B(A dropout(x)), A of shape (R, I), B of shape (O, R).

    A starts Kaiming-uniform with a=√5 and B at zero, as in microsoft/LoRA and Hugging Face PEFT (the paper's text says
    Gaussian A); so the layer starts unchanged, and at the first step only B receives a gradient.
    """

    def __init__(self, config: LoRAConfig, base: Frozen) -> None:
        super().__init__()
        device = base.device
        self.a_RI = uniform((config.r, base.in_features), base.in_features, device, torch.float32)
        self.b_OR = zeros((base.out_features, config.r), device, torch.float32)
        self.scale = config.scale
        self.dropout = config.dropout

    def forward(self, base: Frozen, x_NI: Tensor) -> Tensor:
        """(..., I) to (..., O)."""
        a_RI, b_OR = cast_like(x_NI, self.a_RI, self.b_OR)
        code_NR = product(F.dropout(x_NI, self.dropout, self.training), a_RI) * self.scale
        return add_product(base(x_NI), code_NR, b_OR)

    def lora_factors(self, base: Frozen) -> tuple[Tensor, Tensor]:
        """(A, s·B)."""
        dtype = wide_dtype(base.weight)
        return self.a_RI.to(dtype), self.scale * self.b_OR.to(dtype)


class LoRA(LinearMethod):
    """One pair of factors per layer."""

    Config: ClassVar[type[MethodConfig]] = LoRAConfig
    config: LoRAConfig

    def build_update(self, sites: Sequence[Site]) -> LoRAUpdate:
        """Factors for the one layer of the group."""
        base = sites[0].base
        check_rank(self.config.r, min(base.in_features, base.out_features), sites[0].name)
        return LoRAUpdate(self.config, base)
