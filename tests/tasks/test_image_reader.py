"""Images read by threads and ahead of time: the same pixels, whoever reads them when."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tasks.pictures import write_pictures
from wegeft.errors import UserError
from wegeft.tasks.image_reader import ImageReader, Wanted
from wegeft.tasks.image_source import ImageExample, open_image
from wegeft.tasks.image_transform import Draw, Transform, TransformConfig

CONFIG = TransformConfig(
    resize=40, resize_to="shorter_side", interpolation="bilinear", crop=32, crop_at="random", flip=0.5
)


@pytest.fixture
def wanted(tmp_path: Path) -> list[Wanted]:
    """Images with random choices, one of them twice, and one in memory."""
    transform = Transform(CONFIG)
    files = sorted(write_pictures(tmp_path).rglob("train_*"))
    pairs: list[Wanted] = [(ImageExample(str(path), path, 0), transform.draw()) for path in files]
    pairs.append((ImageExample("memory", np.full((50, 60, 3), 7, np.uint8), 0), transform.draw()))
    return [*pairs, pairs[0]]


def plain(wanted: list[Wanted]) -> torch.Tensor:
    """The pixels, read one after the other."""
    pixels = [Transform(CONFIG).apply(open_image(example), draw) for example, draw in wanted]
    return torch.from_numpy(np.stack(pixels))


def test_pixels_do_not_depend_on_what_was_expected(wanted: list[Wanted]) -> None:
    reader = ImageReader(Transform(CONFIG))
    assert torch.equal(reader.read(wanted), plain(wanted))
    reader.expect(wanted)
    reader.expect(wanted[3:9])  # the next step is expected before this one is read
    assert torch.equal(reader.read(wanted[:5]), plain(wanted[:5]))  # in micro-batches
    assert torch.equal(reader.read(wanted[5:]), plain(wanted[5:]))
    assert torch.equal(reader.read(wanted[3:9]), plain(wanted[3:9]))
    assert torch.equal(reader.read(wanted[3:9]), plain(wanted[3:9]))  # again, as after running out of memory


def test_other_random_choices_are_another_image(wanted: list[Wanted]) -> None:
    example = wanted[0][0]
    pairs: list[Wanted] = [(example, Draw(0.0, 0.0, flip=False)), (example, Draw(0.0, 0.0, flip=True))]
    reader = ImageReader(Transform(CONFIG))
    reader.expect(pairs)
    pixels_BHWC = reader.read(pairs[::-1])
    assert torch.equal(pixels_BHWC[0].flip(1), pixels_BHWC[1])
    assert not torch.equal(pixels_BHWC[0], pixels_BHWC[1])


def test_a_broken_file_is_named_when_it_is_read(wanted: list[Wanted], tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    reader = ImageReader(Transform(CONFIG))
    reader.expect([(ImageExample("broken", broken, 0), None)])
    assert torch.equal(reader.read(wanted), plain(wanted))
    with pytest.raises(UserError, match="cannot be read"):
        reader.read([(ImageExample("broken", broken, 0), None)])
