"""Pictures of objects in a place: a background, clutter, light, and for each object its box and its parts' masks.

Everything is drawn from one `random.Random`; the noise comes from the raw stream of PCG64, which numpy keeps stable.

Does not: decide what is in a picture; `sets` does.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from wegeft.tasks.mini_pictures.strokes import Colour, Floats, Pose, Stroke, paint, pixel_centres, visible

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels, right and bottom exclusive."""
MIN_VISIBLE = 0.5
"""Share of a pixel from which on it belongs to what is drawn on it."""
SOIL: tuple[Colour, Colour] = ((0.46, 0.50, 0.30), (0.52, 0.50, 0.34))
NOISE = 0.08
"""Width of the uniform noise on every channel of every pixel."""


@dataclass(frozen=True)
class Picture:
    """A picture and what is known about it.

    Attributes:
        pixels_HWC: uint8.
        objects: the strokes of each object, in pictures (0 to 1), in the order in which they were laid over each other.
    """

    pixels_HWC: NDArray[np.uint8]
    objects: tuple[tuple[Stroke, ...], ...]

    @cached_property
    def object_masks(self) -> tuple[NDArray[np.bool_], ...]:
        """For each object the pixels (H, W) that show it; none where it is hidden or outside the picture."""
        ends = list(accumulate(map(len, self.objects), initial=0))
        return tuple(self._mask(range(start, end)) for start, end in pairwise(ends))

    @property
    def boxes(self) -> tuple[Box, ...]:
        """The box of each object of which something can be seen."""
        return tuple(box for mask_HW in self.object_masks if (box := box_of(mask_HW)))

    @cached_property
    def part_masks(self) -> dict[str, NDArray[np.bool_]]:
        """By part, the pixels (H, W) that show it in any object."""
        names = [stroke.part for parts in self.objects for stroke in parts]
        return {name: self._mask([i for i, own in enumerate(names) if own == name]) for name in dict.fromkeys(names)}

    @cached_property
    def _shown_SHW(self) -> Floats:
        return visible([stroke for parts in self.objects for stroke in parts], self.pixels_HWC.shape[0])

    def _mask(self, strokes: Sequence[int]) -> NDArray[np.bool_]:
        mask_HW: NDArray[np.bool_] = self._shown_SHW[list(strokes)].sum(axis=0) >= MIN_VISIBLE
        return mask_HW


def compose(rng: random.Random, objects: Sequence[Sequence[Stroke]], size: int) -> Picture:
    """Paint ``objects``, each a list of strokes in pictures (0 to 1), on a random background and in a random light.

    Args:
        rng: where every choice comes from.
        objects: drawn in order; later ones may hide earlier ones.
        size: height and width in pixels.
    """
    clutter = [_blob(rng, size) for _ in range(rng.randint(2, 5))]
    return _painted(rng, (_dull(rng), _dull(rng)), clutter, objects, size)


def landscape(rng: random.Random, land: Sequence[Stroke], size: int) -> Picture:
    """Paint ``land``, strokes in pictures (0 to 1), on bare soil in a random light; a picture without objects."""
    clutter = [_blob(rng, size) for _ in range(rng.randint(2, 5))]
    return _painted(rng, SOIL, [*clutter, *land], [], size)


def _painted(
    rng: random.Random,
    ground: tuple[Colour, Colour],
    behind: Sequence[Stroke],
    objects: Sequence[Sequence[Stroke]],
    size: int,
) -> Picture:
    strokes = [*behind, *(stroke for parts in objects for stroke in parts)]
    strokes = [stroke._replace(colour=_varied(rng, stroke.colour)) for stroke in strokes]
    pixels_HWC = _developed(rng, paint(_gradient(*ground, size), strokes))
    return Picture(pixels_HWC, tuple(map(tuple, objects)))


def box_of(mask_HW: NDArray[np.bool_]) -> Box | None:
    """The smallest box around the true pixels; None if there are none."""
    rows, columns = np.flatnonzero(mask_HW.any(axis=1)), np.flatnonzero(mask_HW.any(axis=0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def pose(rng: random.Random, scale: tuple[float, float], tilt: float = 0.3, inset: float = 0.42) -> Pose:
    """A pose with a unit of ``scale`` pictures, turned by up to ``tilt`` radians, ``inset`` away from the edges."""
    return Pose(
        x=rng.uniform(inset, 1 - inset),
        y=rng.uniform(inset, 1 - inset),
        scale=rng.uniform(*scale),
        angle=rng.uniform(-tilt, tilt),
        mirrored=rng.random() < 0.5,
    )


def _dull(rng: random.Random) -> Colour:
    """A colour of a background: any hue, little saturation."""
    grey = rng.uniform(0.25, 0.75)
    return tuple(grey + rng.uniform(-0.18, 0.18) for _ in range(3))  # type: ignore[return-value]  # three of them


def _blob(rng: random.Random, size: int) -> Stroke:
    """Something out of focus behind the objects: a twig, a stone, a leaf."""
    x, y, r = rng.random(), rng.random(), rng.uniform(0.02, 0.12)
    reach = rng.uniform(0, 0.6)
    x1, y1 = x + rng.uniform(-reach, reach), y + rng.uniform(-reach, reach)
    return Stroke(x, y, r, x1, y1, r * rng.random(), _dull(rng), soft=size * rng.uniform(0.03, 0.2))


def _varied(rng: random.Random, colour: Colour, by: float = 0.05) -> Colour:
    red, green, blue = colour
    return red + rng.uniform(-by, by), green + rng.uniform(-by, by), blue + rng.uniform(-by, by)


def _gradient(top: Colour, bottom: Colour, size: int) -> Floats:
    _, row_H1 = pixel_centres(size)
    share_1HW = np.broadcast_to(row_H1 / np.float32(size), (size, size))[None]
    start_C11, end_C11 = (np.array(colour, np.float32)[:, None, None] for colour in (top, bottom))
    gradient_CHW: Floats = start_C11 + share_1HW * (end_C11 - start_C11)
    return gradient_CHW


def _developed(rng: random.Random, picture_CHW: Floats) -> NDArray[np.uint8]:
    """Light, tint and noise, then bytes: (H, W, C)."""
    light = rng.uniform(0.65, 1.15)
    tint_C11 = np.array([light * rng.uniform(0.9, 1.1) for _ in range(3)], np.float32)[:, None, None]
    raw = np.random.PCG64(rng.getrandbits(64)).random_raw(-(-picture_CHW.size // 8))
    noise_CHW = raw.view(np.uint8)[: picture_CHW.size].reshape(picture_CHW.shape).astype(np.float32)
    lit_CHW = picture_CHW * tint_C11 + (noise_CHW - np.float32(127.5)) * np.float32(NOISE / 255)
    bytes_CHW = np.rint(np.clip(lit_CHW, 0, 1) * np.float32(255)).astype(np.uint8)
    return np.ascontiguousarray(bytes_CHW.transpose(1, 2, 0))
