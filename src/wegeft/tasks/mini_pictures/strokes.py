"""From a list of strokes to pixels: the rasteriser of the mini pictures.

A stroke is a tapered line, the hull of two discs: a body, a petal, a beak, and with both ends in one place a disc. Its
signed distance is approximated by |p − a − t(b − a)| − (r_a + t(r_b − r_a)), t being where p projects on the axis.
Strokes are laid over each other in order, with edges one pixel soft, so that what is visible of each part is known.

Only sums, products, quotients and square roots of fp32 touch the pixels, which IEEE 754 defines to the bit: one list
gives the same bytes everywhere. H and W are pixels, S strokes, C the three colour channels.

Does not: know what the strokes stand for, or draw anything at random.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Colour = tuple[float, float, float]
"""Red, green and blue from 0 to 1."""
Floats = NDArray[np.float32]


class Stroke(NamedTuple):
    """A line from (x0, y0) with radius r0 to (x1, y1) with radius r1; y points down.

    Attributes:
        part: what it belongs to, e.g. ``beak``; the empty name is no part of an object.
        soft: width of its edge in pixels.
    """

    x0: float
    y0: float
    r0: float
    x1: float
    y1: float
    r1: float
    colour: Colour
    part: str = ""
    soft: float = 1.0


@dataclass(frozen=True)
class Pose:
    """Where an object is and how it is turned: its own units times ``scale``, mirrored, turned, then moved.

    Attributes:
        x, y: its origin, in pictures (0 to 1).
        scale: its unit in pictures.
        angle: radians, clockwise as seen.
        mirrored: whether left and right change places first.
    """

    x: float
    y: float
    scale: float
    angle: float = 0.0
    mirrored: bool = False

    def place(self, strokes: Sequence[Stroke]) -> list[Stroke]:
        """``strokes`` in the units of the picture."""
        return [self._placed(stroke) for stroke in strokes]

    def _placed(self, stroke: Stroke) -> Stroke:
        x0, y0 = self.point(stroke.x0, stroke.y0)
        x1, y1 = self.point(stroke.x1, stroke.y1)
        return stroke._replace(x0=x0, y0=y0, x1=x1, y1=y1, r0=stroke.r0 * self.scale, r1=stroke.r1 * self.scale)

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Where the point (x, y) of the object lies in the picture."""
        x = -x if self.mirrored else x
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return self.x + self.scale * (cos * x - sin * y), self.y + self.scale * (sin * x + cos * y)


def paint(background_CHW: Floats, strokes: Sequence[Stroke]) -> Floats:
    """``strokes``, in pictures (0 to 1), over a square background (C, H, W) with values from 0 to 1."""
    alpha_SHW = coverage(strokes, background_CHW.shape[1])
    colours_SC11 = np.array([stroke.colour for stroke in strokes], np.float32).reshape(-1, 3, 1, 1)
    picture_CHW = background_CHW.copy()
    for alpha_HW, colour_C11 in zip(alpha_SHW, colours_SC11, strict=True):
        picture_CHW += alpha_HW * (colour_C11 - picture_CHW)
    return picture_CHW


def visible(strokes: Sequence[Stroke], size: int) -> Floats:
    """How much of each pixel shows each stroke, once all are laid over each other: (S, H, W) from 0 to 1."""
    alpha_SHW = coverage(strokes, size)
    left_SHW = np.ones_like(alpha_SHW)
    if len(alpha_SHW) > 1:
        left_SHW[:-1] = np.cumprod((1 - alpha_SHW)[:0:-1], axis=0)[::-1]
    shown_SHW: Floats = alpha_SHW * left_SHW
    return shown_SHW


def coverage(strokes: Sequence[Stroke], size: int) -> Floats:
    """How much of each pixel each stroke covers, before others are laid over it: (S, H, W) from 0 to 1."""
    if not strokes:
        return np.zeros((0, size, size), np.float32)
    numbers = np.array([(s.x0, s.y0, s.r0, s.x1, s.y1, s.r1) for s in strokes], np.float64) * size
    x0, y0, r0, x1, y1, r1 = (column[:, None, None] for column in numbers.astype(np.float32).T)
    soft = np.array([s.soft for s in strokes], np.float32)[:, None, None]
    column_1W, row_H1 = pixel_centres(size)
    dx, dy = x1 - x0, y1 - y0
    px_S1W, py_SH1 = column_1W - x0, row_H1 - y0
    # A disc has no axis: any t does, and a positive divisor keeps it finite.
    length = np.maximum(dx * dx + dy * dy, np.float32(1e-6))
    t_SHW = np.clip(px_S1W * (dx / length) + py_SH1 * (dy / length), 0, 1)
    away_x, away_y = px_S1W - t_SHW * dx, py_SH1 - t_SHW * dy
    distance_SHW = np.sqrt(away_x * away_x + away_y * away_y) - (r0 + t_SHW * (r1 - r0))
    alpha_SHW: Floats = np.clip(np.float32(0.5) - distance_SHW / soft, 0, 1)
    return alpha_SHW


@cache
def pixel_centres(size: int) -> tuple[Floats, Floats]:
    """Centres of the pixels: x of the columns (1, W) and y of the rows (H, 1), in pixels."""
    centres = np.arange(size, dtype=np.float32) + np.float32(0.5)
    return centres[None, :], centres[:, None]
