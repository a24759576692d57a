"""Resizing, cropping and normalising give torchvision's pixels; random choices come from torch's generator alone."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from wegeft.errors import UserError
from wegeft.schema import validate
from wegeft.tasks.image_transform import Draw, Normalisation, Transform, TransformConfig

FGVC_TEST = {"resize": 256, "resize_to": "shorter_side", "interpolation": "bilinear", "crop": 224, "crop_at": "center"}
VTAB = {"resize": 224, "resize_to": "square", "interpolation": "bilinear", "crop": None, "crop_at": "center"}


def transform(**fields: Any) -> Transform:
    return Transform(validate(TransformConfig, {"flip": 0.0, **fields}, "task.test_transform"))


def picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", [(500, 333), (333, 500), (225, 300), (256, 256), (1000, 257)])
def test_the_test_transform_is_torchvisions(size: tuple[int, int]) -> None:
    image = picture(*size)
    reference = v2.Compose([v2.Resize(256), v2.CenterCrop(224)])(image)
    assert np.array_equal(transform(**FGVC_TEST).apply(image), np.asarray(reference))
    reference = v2.Resize((224, 224))(image)
    assert np.array_equal(transform(**VTAB).apply(image), np.asarray(reference))


def test_normalisation_is_torchvisions() -> None:
    made = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    pixels_BHWC = torch.from_numpy(np.asarray(picture(7, 5)).copy())[None]
    scaled_BCHW = v2.functional.to_dtype(pixels_BHWC.permute(0, 3, 1, 2), torch.float32, scale=True)
    expected = v2.Normalize(made.mean, made.std)(scaled_BCHW)
    torch.testing.assert_close(made(pixels_BHWC, torch.float32), expected, rtol=0, atol=1e-6)


def test_random_crops_reach_every_place_and_flips_mirror() -> None:
    image = picture(6, 5)
    made = transform(resize=None, resize_to="square", interpolation="bilinear", crop=4, crop_at="random")
    source = np.asarray(image)
    corners = {(top, left): source[top : top + 4, left : left + 4] for top in (0, 1) for left in (0, 1, 2)}
    torch.manual_seed(0)
    found = {made.apply(image, made.draw()).tobytes() for _ in range(100)}
    assert found == {corner.tobytes() for corner in corners.values()}
    flipped = made.apply(image, Draw(top=0.0, left=0.0, flip=True))
    assert np.array_equal(flipped, source[:4, 3::-1])


def test_choices_follow_from_the_seed_and_fixed_transforms_make_none() -> None:
    made = transform(resize=None, resize_to="square", interpolation="bilinear", crop=None, crop_at="center", flip=0.5)
    torch.manual_seed(3)
    first = [made.draw() for _ in range(50)]
    torch.manual_seed(3)
    assert [made.draw() for _ in range(50)] == first
    assert {draw.flip for draw in first if draw} == {True, False}
    assert transform(**VTAB).draw() is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"crop": None}, "resize_to=shorter_side leaves images of different sizes"),
        ({"crop": 300}, "a crop of 300 does not fit into an image resized to 256"),
        ({"flip": 2.0}, "task.test_transform.flip=2.0"),
    ],
)
def test_a_transform_that_cannot_be_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        transform(**{**FGVC_TEST, **changes})
