"""Cross-entropy of an image classifier, summed over images.

Does not: decide how images are cut (the task's transform does), or know optimisers and devices.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wegeft.tasks.image_reader import ImageReader
from wegeft.tasks.image_source import ImageExample
from wegeft.tasks.image_transform import Draw, Normalisation, Transform
from wegeft.training.objective import Batch, Batching
from wegeft.training.transfer import to_device


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
        self._reader = ImageReader(transform)
        self._normalisation = normalisation
        self._positions = positions
        self._label_smoothing = label_smoothing

    @property
    def is_random(self) -> bool:
        """Whether an image may look different from epoch to epoch."""
        return self._transform.config.is_random

    def draw(self, items: Sequence[ImageItem]) -> Sequence[ImageItem]:
        """Crops and flips for the images of one step, from torch's generator."""
        return [replace(item, draw=self._transform.draw()) for item in items]

    def expect(self, items: Sequence[ImageItem]) -> None:
        """Begin to read the files of ``items`` while something else is computed."""
        self._reader.expect([(item.example, item.draw) for item in items])

    def collate(self, items: Sequence[ImageItem], batching: Batching) -> Batch:
        """``pixels_BHWC`` (uint8) and ``labels_B`` (int64); images have one size, so there is nothing to pad."""
        del batching
        return {
            "pixels_BHWC": self.pixels(items),
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
        return self.cross_entropy_sum(model(self.input(batch["pixels_BHWC"], model)), batch["labels_B"])

    def pixels(self, items: Sequence[ImageItem]) -> Tensor:
        """The images decoded and transformed: (B, H, W, C), uint8."""
        return self._reader.read([(item.example, item.draw) for item in items])

    def input(self, pixels_BHWC: Tensor, model: nn.Module) -> Tensor:
        """What ``model`` takes, (B, C, H, W), on its device and in its dtype."""
        first = next(model.parameters())
        return self._normalisation(to_device(pixels_BHWC, first.device), first.dtype)

    def cross_entropy_sum(self, logits_BK: Tensor, labels_B: Tensor) -> Tensor:
        """The loss of given logits; a scalar in fp32."""
        return F.cross_entropy(logits_BK.float(), labels_B, reduction="sum", label_smoothing=self._label_smoothing)
