"""From an image of any size to pixels of one size: resize, crop, flip, each an explicit value of the configuration.

Random choices are drawn apart from the work (:meth:`Transform.draw`, :meth:`Transform.apply`), so that they depend on
torch's generator alone and not on who decodes what when. Resizing and cropping give the pixels of torchvision's
``Resize``, ``CenterCrop`` and ``RandomCrop`` on PIL images.

Does not: open files or normalise (:class:`Normalisation` says by what; the objective does it, on the device).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from wegeft.schema import Strict

if TYPE_CHECKING:
    from PIL.Image import Image

Triple = tuple[float, float, float]


class Normalisation(Strict):
    """x → (x - mean) / std per channel (red, green, blue), for x between 0 and 1."""

    mean: Triple
    std: Triple

    def __call__(self, pixels_BHWC: Tensor, dtype: torch.dtype) -> Tensor:
        """uint8 pixels as the network's input, (B, C, H, W), in ``dtype``."""
        scale_C = 1 / (255 * torch.tensor(self.std, device=pixels_BHWC.device))
        shift_C = -torch.tensor(self.mean, device=pixels_BHWC.device) / torch.tensor(
            self.std, device=pixels_BHWC.device
        )
        return torch.addcmul(shift_C, pixels_BHWC, scale_C).permute(0, 3, 1, 2).contiguous().to(dtype)


class TransformConfig(Strict):
    """What happens to an image before it is normalised.

    Attributes:
        resize: target size in pixels; None keeps the size.
        resize_to: ``shorter_side`` keeps the proportions, ``square`` does not.
        interpolation: filter of the resizing, with antialiasing.
        crop: side of the square that is cut out; None cuts nothing.
        crop_at: where.
        flip: probability of a mirror image.
    """

    resize: int | None = Field(ge=1)
    resize_to: Literal["shorter_side", "square"]
    interpolation: Literal["bilinear", "bicubic"]
    crop: int | None = Field(ge=1)
    crop_at: Literal["center", "random"]
    flip: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.crop is None and self.resize is not None and self.resize_to == "shorter_side":
            raise ValueError("resize_to=shorter_side leaves images of different sizes: give a crop or resize_to=square")
        if self.crop is not None and self.resize is not None and self.crop > self.resize:
            raise ValueError(f"a crop of {self.crop} does not fit into an image resized to {self.resize}")
        return self

    @property
    def is_random(self) -> bool:
        """Whether the same image may come out differently."""
        return self.flip > 0 or (self.crop is not None and self.crop_at == "random")


@dataclass(frozen=True)
class Draw:
    """The random choices for one image: place of the crop as a share of the room for it, and the flip."""

    top: float
    left: float
    flip: bool


class Transform:
    """Resize, crop, flip."""

    def __init__(self, config: TransformConfig) -> None:
        self.config = config

    def draw(self) -> Draw | None:
        """Random choices from torch's generator; None if there are none to make."""
        if not self.config.is_random:
            return None
        top, left, flip = torch.rand(3).tolist()
        return Draw(top, left, flip < self.config.flip)

    def apply(self, image: "Image", draw: Draw | None = None) -> "np.ndarray[Any, np.dtype[np.uint8]]":
        """Pixels (H, W, 3); without ``draw`` the crop is in the middle and nothing is flipped."""
        from PIL import Image

        image = self._resize(image)
        if self.config.crop is not None:
            image = self._crop(image, self.config.crop, draw)
        if draw is not None and draw.flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return np.asarray(image)

    def _resize(self, image: "Image") -> "Image":
        from PIL import Image

        size = self.config.resize
        if size is None:
            return image
        width, height = image.size
        if self.config.resize_to == "square":
            target = (size, size)
        elif width <= height:
            target = (size, size * height // width)
        else:
            target = (size * width // height, size)
        if target == image.size:
            return image
        return image.resize(target, getattr(Image.Resampling, self.config.interpolation.upper()))

    def _crop(self, image: "Image", size: int, draw: Draw | None) -> "Image":
        room_x, room_y = image.width - size, image.height - size
        if draw is None or self.config.crop_at == "center":
            left, top = round(room_x / 2), round(room_y / 2)
        else:
            left, top = int(draw.left * (room_x + 1)), int(draw.top * (room_y + 1))
        return image.crop((left, top, left + size, top + size))
