"""Cross-entropy of an image classifier, summed over images.

Does not: decide how images are cut (the task's transform does), or know optimisers and devices.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wegeft.tasks.image_source import ImageExample, open_image
from wegeft.tasks.image_transform import Draw, Normalisation, Transform
from wegeft.training.objective import Batch, Batching


@dataclass(frozen=True)
class ImageItem:
    """A training image and, within a step, the random choices made for it."""

    example: ImageExample
    draw: Draw | None = None


class ImageObjective:
    """See :class:`wegeft.training.objective.Objective`; the unit is an image."""

    def __init__(
        self, transform: Transform, normalisation: Normalisation, positions: int, label_smoothing: float
    ) -> None:
        self._transform = transform
        self._normalisation = normalisation
        self._positions = positions
        self._label_smoothing = label_smoothing

    def draw(self, items: Sequence[ImageItem]) -> Sequence[ImageItem]:
        """Crops and flips for the images of one step, from torch's generator."""
        return [replace(item, draw=self._transform.draw()) for item in items]

    def collate(self, items: Sequence[ImageItem], batching: Batching) -> Batch:
        """``pixels_BHWC`` (uint8) and ``labels_B`` (int64); images have one size, so there is nothing to pad."""
        del batching
        return {
            "pixels_BHWC": pixels([item.example for item in items], [item.draw for item in items], self._transform),
            "labels_B": torch.tensor([item.example.label for item in items]),
        }

    def units(self, items: Sequence[ImageItem]) -> int:
        """Images."""
        return len(items)

    def tokens(self, items: Sequence[ImageItem]) -> int:
        """Positions of the transformer: patches and class token."""
        return len(items) * self._positions

    def loss_sum(self, model: nn.Module, batch: Batch) -> Tensor:
        """Cross-entropy summed over images, in nats."""
        input_BCHW = self._normalisation(batch["pixels_BHWC"], next(model.parameters()).dtype)
        logits_BK: Tensor = model(input_BCHW)
        return F.cross_entropy(
            logits_BK.float(), batch["labels_B"], reduction="sum", label_smoothing=self._label_smoothing
        )


def pixels(examples: Sequence[ImageExample], draws: Sequence[Draw | None], transform: Transform) -> Tensor:
    """The images decoded and transformed: (B, H, W, C), uint8."""
    images = [transform.apply(open_image(e), draw) for e, draw in zip(examples, draws, strict=True)]
    return torch.from_numpy(np.stack(images))
