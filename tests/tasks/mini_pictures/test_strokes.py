"""The rasteriser: strokes cover what their geometry says, and later ones hide earlier ones."""

import math

import numpy as np
import pytest

from wegeft.tasks.mini_pictures.strokes import Pose, Stroke, coverage, paint, visible

RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)


def disc(x: float, y: float, r: float, colour: tuple[float, float, float] = RED) -> Stroke:
    return Stroke(x, y, r, x, y, r, colour)


def test_a_disc_covers_its_area() -> None:
    area = coverage([disc(0.5, 0.5, 0.3)], 64)[0].sum() / 64**2
    assert area == pytest.approx(math.pi * 0.3**2, rel=0.01)


def test_a_line_covers_its_band_and_both_ends() -> None:
    area = coverage([Stroke(0.3, 0.5, 0.1, 0.7, 0.5, 0.1, RED)], 64)[0].sum() / 64**2
    assert area == pytest.approx(0.4 * 0.2 + math.pi * 0.1**2, rel=0.01)


def test_a_pixel_shows_the_last_stroke_that_covers_it() -> None:
    strokes = [disc(0.5, 0.5, 0.4), disc(0.5, 0.5, 0.2, BLUE)]
    picture_CHW = paint(np.zeros((3, 32, 32), np.float32), strokes)
    assert picture_CHW[:, 16, 16].tolist() == [0, 0, 1]
    assert picture_CHW[:, 16, 6].tolist() == [1, 0, 0]
    assert picture_CHW[:, 0, 0].tolist() == [0, 0, 0]


def test_what_is_visible_of_all_strokes_never_exceeds_a_pixel() -> None:
    strokes = [disc(0.5, 0.5, 0.4), disc(0.6, 0.5, 0.2), disc(0.4, 0.6, 0.3)]
    shown_SHW = visible(strokes, 32)
    assert float(shown_SHW.sum(axis=0).max()) <= 1 + 1e-6
    assert shown_SHW[0, 16, 16] == 0
    picture_CHW = paint(np.zeros((3, 32, 32), np.float32), strokes)
    np.testing.assert_allclose(shown_SHW.sum(axis=0), picture_CHW[0], atol=1e-6)


def test_nothing_is_painted_without_strokes() -> None:
    background_CHW = np.full((3, 8, 8), 0.25, np.float32)
    assert np.array_equal(paint(background_CHW, []), background_CHW)
    assert visible([], 8).shape == (0, 8, 8)


def test_a_pose_scales_mirrors_turns_and_moves_in_this_order() -> None:
    turned = Pose(x=0.5, y=0.5, scale=0.1, angle=math.pi / 2)
    assert turned.point(1, 0) == pytest.approx((0.5, 0.6))  # clockwise as seen, y points down
    assert Pose(x=0.5, y=0.5, scale=0.1, mirrored=True).point(1, 2) == pytest.approx((0.4, 0.7))
    (placed,) = turned.place([disc(0, 0, 2)])
    assert (placed.x0, placed.y0, placed.r0) == pytest.approx((0.5, 0.5, 0.2))
