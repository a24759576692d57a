"""How much of each cluster's heat lies on the object: the localisation score, over many images.

Does not: draw, or compute maps of single images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LayerScore:
    """Localisation of one layer at one time.

    Attributes:
        mean: over clusters and images; None if no map has any heat.
        best, best_mean: the cluster with the largest mean over images, and that mean.
        without_heat: maps that were left out because nothing in them stands out.
    """

    mean: float | None
    best: int | None
    best_mean: float | None
    without_heat: int


@dataclass(frozen=True)
class Layer:
    """A layer before and after the method's change."""

    layer: str
    before: LayerScore
    after: LayerScore


@dataclass(frozen=True)
class Localisation:
    """Scores by layer.

    Attributes:
        images: how many images with a known object they are means of.
        even: mean share of the image that the object's box covers, which evenly spread heat would score.
    """

    images: int
    even: float
    layers: tuple[Layer, ...]


def layer_score(shares: Sequence[Tensor]) -> LayerScore:
    """The score of a layer from `wegeft.clusters.maps.share_inside` of each batch, (B, R) with NaN for no heat."""
    shares_NR = torch.cat(list(shares)).double()
    mean_R = shares_NR.nanmean(dim=0)
    without = int(shares_NR.isnan().sum())
    if without == shares_NR.numel():
        return LayerScore(None, None, None, without)
    best = int(mean_R.nan_to_num(nan=-1.0).argmax())
    return LayerScore(float(shares_NR.nanmean()), best, float(mean_R[best]), without)
