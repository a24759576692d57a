"""What pretraining never shows: ten kinds of things, and land seen from above.

Things stand for VTAB's natural group (recognise the object), land for its specialised group (another kind of camera).
Each function takes the stream of random choices and returns strokes; things in units of their own, about between -1
and 1, land in pictures (0 to 1).

Does not: place a thing in a picture.
"""

import math
import random
from collections.abc import Callable
from itertools import pairwise

from wegeft.tasks.mini_pictures.creatures import COLOURS, DARK, PALETTE, shade
from wegeft.tasks.mini_pictures.strokes import Colour, Stroke

Draw = Callable[[random.Random], list[Stroke]]


def _any(rng: random.Random) -> Colour:
    return PALETTE[rng.choice(COLOURS)]


def _line(x0: float, y0: float, r0: float, x1: float, y1: float, r1: float, colour: Colour, part: str) -> Stroke:
    return Stroke(x0, y0, r0, x1, y1, r1, colour, part)


def _mushroom(rng: random.Random) -> list[Stroke]:
    cap = _any(rng)
    stem = _line(0, 0.1, 0.14, 0, 0.75, 0.2, PALETTE["white"], "stem")
    return [
        stem,
        _line(-0.36, -0.12, 0.22, 0.36, -0.12, 0.22, cap, "cap"),
        _line(0, -0.3, 0.3, 0, -0.3, 0.3, cap, "cap"),
    ]


def _tree(rng: random.Random) -> list[Stroke]:
    crown = _any(rng)
    trunk = _line(0, 0, 0.09, 0, 0.9, 0.13, PALETTE["brown"], "trunk")
    return [trunk, *(_line(x, y, 0.36, x, y, 0.36, crown, "crown") for x, y in ((-0.3, -0.2), (0.3, -0.2), (0, -0.5)))]


def _fir(rng: random.Random) -> list[Stroke]:
    crown = _any(rng)
    trunk = _line(0, 0.3, 0.09, 0, 0.9, 0.1, PALETTE["brown"], "trunk")
    slopes = [(x, y, top) for y, top in ((0.5, -0.3), (0.05, -0.8)) for x in (-0.42, 0.0, 0.42)]
    return [trunk, *(_line(0, top, 0.04, x, y, 0.14, crown, "crown") for x, y, top in slopes)]


def _snail(rng: random.Random) -> list[Stroke]:
    body, shell = PALETTE["brown"], _any(rng)
    foot = [_line(-0.7, 0.5, 0.08, 0.6, 0.5, 0.14, body, "foot"), _line(0.6, 0.4, 0.12, 0.72, 0.0, 0.1, body, "foot")]
    rings = ((0.46, shell), (0.3, shade(shell, 0.6)), (0.16, shell))
    return foot + [_line(-0.05, 0.05, r, -0.05, 0.05, r, colour, "shell") for r, colour in rings]


def _house(rng: random.Random) -> list[Stroke]:
    wall, roof = _any(rng), _any(rng)
    walls = [_line(-0.4, y, 0.16, 0.4, y, 0.16, wall, "wall") for y in (0.15, 0.4, 0.62)]
    slopes = [_line(side * 0.65, -0.05, 0.1, 0, -0.6, 0.1, roof, "roof") for side in (-1, 1)]
    return [*walls, *slopes, _line(0, 0.45, 0.12, 0, 0.68, 0.12, DARK, "door")]


def _cup(rng: random.Random) -> list[Stroke]:
    colour = _any(rng)
    handle = [_line(0.4, y, 0.07, 0.74, 0.1, 0.07, colour, "handle") for y in (-0.22, 0.42)]
    body = [_line(x, -0.3, 0.18, x * 0.8, 0.4, 0.18, colour, "body") for x in (-0.36, -0.12, 0.12, 0.36)]
    return [*handle, *body, _line(-0.34, -0.36, 0.07, 0.34, -0.36, 0.07, shade(colour, 0.45), "rim")]


def _beetle(rng: random.Random) -> list[Stroke]:
    back = _any(rng)
    legs = [_line(0, y, 0.05, side * 0.72, y + 0.14, 0.03, DARK, "legs") for y in (-0.2, 0.1, 0.4) for side in (-1, 1)]
    body = [_line(0, -0.5, 0.18, 0, -0.5, 0.18, DARK, "head"), _line(0, -0.1, 0.36, 0, 0.36, 0.36, back, "back")]
    return [*legs, *body, _line(0, -0.4, 0.03, 0, 0.7, 0.03, DARK, "seam")]


def _cherries(rng: random.Random) -> list[Stroke]:
    fruit = _any(rng)
    ends = ((-0.4, 0.5), (0.38, 0.6))
    stalks = [_line(0.1, -0.8, 0.04, x, y, 0.04, PALETTE["green"], "stalk") for x, y in ends]
    leaf = _line(0.1, -0.8, 0.04, 0.55, -0.7, 0.14, PALETTE["green"], "leaf")
    return [*stalks, leaf, *(_line(x, y, 0.28, x, y, 0.28, fruit, "fruit") for x, y in ends)]


def _cactus(rng: random.Random) -> list[Stroke]:
    skin = _any(rng)
    arms = [_line(side * 0.5, y - 0.5, 0.12, side * 0.5, y, 0.12, skin, "arm") for side, y in ((-1, 0.15), (1, 0.35))]
    joints = [_line(side * 0.5, y, 0.12, 0, y, 0.12, skin, "arm") for side, y in ((-1, 0.15), (1, 0.35))]
    return [_line(0, -0.75, 0.2, 0, 0.85, 0.2, skin, "stem"), *arms, *joints]


def _boat(rng: random.Random) -> list[Stroke]:
    hull, sail = _any(rng), _any(rng)
    mast = _line(0, -0.85, 0.04, 0, 0.4, 0.04, PALETTE["brown"], "mast")
    sails = [_line(side * 0.26, 0.08, 0.2, side * 0.1, -0.6, 0.03, sail, "sail") for side in (-1, 1)]
    return [
        mast,
        *sails,
        _line(-0.6, 0.45, 0.12, 0.6, 0.45, 0.12, hull, "hull"),
        _line(-0.4, 0.6, 0.12, 0.4, 0.6, 0.12, hull, "hull"),
    ]


THINGS: dict[str, Draw] = {
    "mushroom": _mushroom,
    "tree": _tree,
    "fir": _fir,
    "snail": _snail,
    "house": _house,
    "cup": _cup,
    "beetle": _beetle,
    "cherries": _cherries,
    "cactus": _cactus,
    "boat": _boat,
}


def _spread(
    rng: random.Random, count: int, radius: tuple[float, float], colours: list[Colour], part: str
) -> list[Stroke]:
    """``count`` discs anywhere."""
    spots = [(rng.random(), rng.random(), rng.uniform(*radius), rng.choice(colours)) for _ in range(count)]
    return [Stroke(x, y, r, x, y, r, colour, part) for x, y, r, colour in spots]


def _across(rng: random.Random, width: float, colour: Colour, part: str, bends: float) -> list[Stroke]:
    """A band from one edge to the other, straight or winding."""
    angle = rng.uniform(0, math.pi)
    cos, sin = math.cos(angle), math.sin(angle)
    offset = rng.uniform(-0.2, 0.2)
    points = [(t, offset + rng.uniform(-bends, bends)) for t in (-0.8, -0.45, -0.15, 0.15, 0.45, 0.8)]
    placed = [(0.5 + cos * t - sin * s, 0.5 + sin * t + cos * s) for t, s in points]
    return [Stroke(*a, width, *b, width, colour, part) for a, b in pairwise(placed)]


def _forest(rng: random.Random) -> list[Stroke]:
    greens = [shade(PALETTE["green"], factor) for factor in (0.5, 0.65, 0.8, 0.95)]
    return _spread(rng, 60, (0.05, 0.10), greens, "crowns")


def _orchard(rng: random.Random) -> list[Stroke]:
    step, start, skew = rng.uniform(0.17, 0.22), rng.uniform(-0.1, 0.1), rng.uniform(-0.15, 0.15)
    colour = shade(PALETTE["green"], rng.uniform(0.6, 1.0))
    spots = [(start + step * i + skew * j * step, start + step * j) for i in range(7) for j in range(7)]
    return [Stroke(x, y, 0.055, x, y, 0.055, colour, "crowns") for x, y in spots]


def _furrows(rng: random.Random) -> list[Stroke]:
    angle, step = rng.uniform(0, math.pi), rng.uniform(0.10, 0.14)
    cos, sin, colour = math.cos(angle), math.sin(angle), shade(PALETTE["brown"], rng.uniform(0.7, 1.2))
    rows = [(0.5 - sin * step * i, 0.5 + cos * step * i) for i in range(-7, 8)]
    return [Stroke(x - cos, y - sin, 0.025, x + cos, y + sin, 0.025, colour, "furrows") for x, y in rows]


def _river(rng: random.Random) -> list[Stroke]:
    return _across(rng, rng.uniform(0.05, 0.09), shade(PALETTE["blue"], 0.8), "water", bends=0.14)


def _road(rng: random.Random) -> list[Stroke]:
    return _across(rng, rng.uniform(0.04, 0.06), shade(PALETTE["grey"], 0.9), "road", bends=0.0)


def _crossing(rng: random.Random) -> list[Stroke]:
    return _road(rng) + _road(rng)


def _houses(rng: random.Random) -> list[Stroke]:
    roofs = [shade(PALETTE[name], 0.8) for name in ("red", "brown", "grey")]
    spots = [(rng.random(), rng.random(), rng.choice(roofs)) for _ in range(rng.randint(10, 14))]
    return [Stroke(x, y, 0.05, x + 0.07, y, 0.05, colour, "roofs") for x, y, colour in spots]


def _lake(rng: random.Random) -> list[Stroke]:
    x, y = rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.7)
    water = shade(PALETTE["blue"], 0.8)
    ends = [(x + rng.uniform(-0.2, 0.2), y + rng.uniform(-0.2, 0.2)) for _ in range(3)]
    return [Stroke(x, y, rng.uniform(0.14, 0.2), *end, rng.uniform(0.1, 0.16), water, "water") for end in ends]


LAND: dict[str, Draw] = {
    "forest": _forest,
    "orchard": _orchard,
    "furrows": _furrows,
    "river": _river,
    "road": _road,
    "crossing": _crossing,
    "houses": _houses,
    "lake": _lake,
}
