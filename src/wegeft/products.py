"""Products X Wᵀ by the fastest kernel that torch has for them.

On a CPU torch gives products in bf16 to oneDNN, but those in fp32 to MKL, which takes twice as long on AMD's (other
makers than Intel are taken to fare alike). There, large ones in fp32 go to oneDNN as well: they are as exact, and only
add up in another order. Small ones, other dtypes, devices and processors, autocast and the compiler keep torch's.

Methods compute their thin products so, and `speed_up` lets the linear layers of a backbone. Measured by
``benchmarks/bench_products.py``.

Does not: touch products that are computed elsewhere, such as attention's.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import register_flop_formula

TORCH: Final = "torch"
ONEDNN: Final = "onednn"

LARGE = 1 << 24
"""Multiply-adds from which the call of oneDNN costs nothing beside the product."""

_HAS_ONEDNN = torch.backends.mkldnn.is_available()


def _is_intel() -> bool:
    listing = Path("/proc/cpuinfo")
    return "GenuineIntel" in (listing.read_text(encoding="utf-8") if listing.is_file() else platform.processor())


IS_FASTER = _HAS_ONEDNN and torch.backends.mkl.is_available() and not _is_intel()
"""Whether oneDNN is the faster one here."""


class Linear(nn.Linear):
    """A linear layer that computes what `nn.Linear` does by `product`."""

    def forward(self, x_NI: Tensor) -> Tensor:
        """W x + b, (..., O)."""
        return product(x_NI, self.weight, self.bias)


def speed_up(model: nn.Module) -> None:
    """Let every plain linear layer of ``model`` be a `Linear`, in place; no parameter and no name changes."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = Linear


def product(x_NK: Tensor, w_MK: Tensor, b_M: Tensor | None = None) -> Tensor:
    """X Wᵀ + b, differentiable: of shapes (..., K), (M, K) and (M,), any strides, one dtype; (..., M)."""
    if _by_onednn(x_NK, w_MK):
        return _apply(x_NK, w_MK, b_M=b_M)
    return F.linear(x_NK, w_MK, b_M)


def add_product(y_NM: Tensor, x_NK: Tensor, w_MK: Tensor) -> Tensor:
    """Y + X Wᵀ, differentiable: of shapes (..., M), (..., K) and (M, K); of dtypes short of fp32 it is rounded once."""
    if _by_onednn(x_NK, w_MK):
        return _apply(x_NK, w_MK, y_NM=y_NM)
    flat_NM, flat_NK = (t.reshape(-1, t.shape[-1]) for t in (y_NM, x_NK))
    return torch.addmm(flat_NM, flat_NK, w_MK.T).view_as(y_NM)


def transposed_product(a_NK: Tensor, b_NM: Tensor) -> Tensor:
    """Aᵀ B, differentiable: (K, M), of matrices (N, K) and (N, M) of one dtype, as backward passes need it."""
    return _transposed(a_NK, b_NM) if _by_onednn(a_NK.T, b_NM.T) else a_NK.T @ b_NM


def _by_onednn(x_NK: Tensor, w_MK: Tensor) -> bool:
    return (
        IS_FASTER
        and not torch.compiler.is_compiling()  # first: what is compiled shall not depend on sizes
        and x_NK.dtype == w_MK.dtype == torch.float32
        and x_NK.device.type == "cpu"
        and x_NK.numel() * w_MK.shape[0] >= LARGE
        and not torch.is_autocast_enabled("cpu")
    )


def _apply(x_NK: Tensor, w_MK: Tensor, y_NM: Tensor | None = None, b_M: Tensor | None = None) -> Tensor:
    flat_NK = x_NK.reshape(-1, x_NK.shape[-1])
    flat_NM = None if y_NM is None else y_NM.reshape(-1, y_NM.shape[-1])
    made_NM: Tensor = _Product.apply(flat_NK, w_MK, flat_NM, b_M)  # type: ignore[no-untyped-call]
    return made_NM.view(*x_NK.shape[:-1], -1)


class _Product(torch.autograd.Function):
    """X Wᵀ, with Y or b added, of matrices, by oneDNN, whose operator torch does not differentiate."""

    @staticmethod
    def forward(ctx: Any, x_NK: Tensor, w_MK: Tensor, y_NM: Tensor | None, b_M: Tensor | None) -> Tensor:
        _, needs_w, *_ = ctx.needs_input_grad
        ctx.save_for_backward(x_NK if needs_w else None, w_MK)
        # The operator that the compiler puts in the place of a linear layer; torch offers no other way to oneDNN here.
        made_NM: Tensor = torch.ops.mkldnn._linear_pointwise(x_NK, w_MK, b_M, "none", [], "")
        return made_NM if y_NM is None else made_NM.add_(y_NM)  # faster than oneDNN's own sum

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x_NK, w_MK = ctx.saved_tensors
        (g_NM,) = grads
        needs_x, needs_w, needs_y, needs_b = ctx.needs_input_grad
        return (
            _apply(g_NM, w_MK.T) if needs_x else None,  # so that it can be differentiated once more
            _transposed(g_NM, x_NK) if needs_w else None,
            g_NM if needs_y else None,
            g_NM.sum(0) if needs_b else None,
        )


def _transposed(a_NK: Tensor, b_NM: Tensor) -> Tensor:
    """Aᵀ B, the thin one first: oneDNN takes several times as long over a long matrix that it reads by columns."""
    return _apply(a_NK.T, b_NM.T) if a_NK.shape[1] < b_NM.shape[1] else _apply(b_NM.T, a_NK.T).T


if _HAS_ONEDNN:

    @register_flop_formula([torch.ops.mkldnn._linear_pointwise])
    def _flops(x_shape: Any, *_: Any, out_shape: Any) -> int:
        """Floating-point operations; a multiply-add is two."""
        return int(2 * x_shape[0] * x_shape[1] * out_shape[1])
