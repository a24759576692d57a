"""From an adapted vision transformer and images to the heat map of each layer and cluster.

The generated factor C_RO = (Wφ)ᵀ of a layer is read as R clusters: a cluster's map is its product with the layer's
output at each patch (official code: no softmax, class token left out), once before the method's change is added and
once after. A map is enlarged to the image, brought to [0, 1] by itself, and emptied below a half.

B batch, N positions, O output features, R rank, H and W the patches or pixels of an image.

Does not: train, choose images, or colour anything.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wegeft.errors import UserError
from wegeft.methods.base import Method
from wegeft.methods.linear import LinearMethod, Site

THRESHOLD = 0.5
"""Official: what is below half of a map's range is not shown."""
FLAT = 1e-6
"""A map whose range is this small beside its values is constant."""


@dataclass(frozen=True)
class Maps:
    """The maps of one layer, (B, R, H, W) over the patches, as they come from the products."""

    before_BRHW: Tensor
    after_BRHW: Tensor


@torch.inference_mode()
def cluster_maps(method: Method, input_BCHW: Tensor) -> tuple[Tensor, dict[str, Maps]]:
    """Logits (B, K) and, by name of the adapted layer or part, its maps.

    Args:
        method: attached, trained and not merged.
        input_BCHW: normalised images.

    Raises:
        UserError: the method has no factors to read as clusters, or adapts a layer that does not see patches.
    """
    factors = method.lora_factors() if isinstance(method, LinearMethod) else None
    if factors is None or not isinstance(method, LinearMethod):
        raise UserError(f"mode=clusters reads the low-rank factors of a method, and {method.config.name} has none.")
    seen: dict[str, Maps] = {}
    with ExitStack() as stack:
        for site in method.sites:
            stack.enter_context(_watched(method.backbone, site, factors[site.name], seen))
        logits_BK: Tensor = method.backbone.eval()(input_BCHW)
    return logits_BK, seen


@contextmanager
def _watched(backbone: Any, site: Site, factors: tuple[Tensor, Tensor], seen: dict[str, Maps]) -> Iterator[None]:
    """Put the maps of ``site`` into ``seen`` while the backbone computes."""
    rows, columns = backbone.patch_embed.grid_size
    prefix = backbone.num_prefix_tokens
    a_RI, b_OR = (factor.float() for factor in factors)

    def look(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        del module, output
        x_BNI = inputs[0].float()
        if x_BNI.ndim != 3 or x_BNI.shape[1] != prefix + rows * columns:
            raise UserError(f"mode=clusters needs layers that see patches, and {site.name} does not.")
        before_BNO = site.base(inputs[0]).float()[:, prefix:]
        after_BNO = before_BNO + x_BNI[:, prefix:] @ a_RI.T @ b_OR.T
        seen[site.name] = Maps(*(_on_grid(y_BNO @ b_OR, rows, columns) for y_BNO in (before_BNO, after_BNO)))

    handle = backbone.get_submodule(site.layer_name).register_forward_hook(look)
    try:
        yield
    finally:
        handle.remove()


def _on_grid(code_BNR: Tensor, rows: int, columns: int) -> Tensor:
    return code_BNR.transpose(1, 2).reshape(len(code_BNR), -1, rows, columns)


def heat(maps_BRHW: Tensor, height: int, width: int) -> Tensor:
    """Maps as they are shown: enlarged (bilinear), from 0 to 1 each, nothing below `THRESHOLD`; (B, R, H, W).

    A constant map shows nothing anywhere: it tells no place from another.
    """
    large_BRHW = F.interpolate(maps_BRHW, size=(height, width), mode="bilinear", align_corners=False)
    low_BR11, high_BR11 = large_BRHW.amin((2, 3), keepdim=True), large_BRHW.amax((2, 3), keepdim=True)
    span_BR11 = high_BR11 - low_BR11
    varies_BR11 = span_BR11 > FLAT * torch.maximum(low_BR11.abs(), high_BR11.abs())
    share_BRHW = (large_BRHW - low_BR11) / torch.where(varies_BR11, span_BR11, 1)
    return torch.where(varies_BR11 & (share_BRHW >= THRESHOLD), share_BRHW, 0)


def share_inside(heat_BRHW: Tensor, inside_BHW: Tensor) -> Tensor:
    """Localisation score (B, R): the share of each map's heat that lies on the pixels that ``inside_BHW`` marks.

    NaN for a map without any heat, which cannot be anywhere.
    """
    within_BR = (heat_BRHW * inside_BHW[:, None]).sum((2, 3))
    return within_BR / heat_BRHW.sum((2, 3))
