"""Birds, flowers, fish and butterflies whose looks are put together from attributes.

A creature has a kind and, for each attribute of its kind, one of a few values. Attributes of shape are its parts (the
beak, the crest, the bars on the wing); a species is one combination of values. Each kind is drawn from strokes in
units of its own: the object lies about between -1 and 1, and looks to the right.

Does not: know where in a picture a creature stands, or which combinations are species (`species`).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from wegeft.tasks.mini_pictures.strokes import Colour, Stroke

PALETTE: dict[str, Colour] = {
    "red": (0.82, 0.18, 0.16),
    "orange": (0.93, 0.50, 0.13),
    "yellow": (0.95, 0.83, 0.24),
    "lime": (0.62, 0.80, 0.26),
    "green": (0.16, 0.52, 0.24),
    "teal": (0.16, 0.62, 0.62),
    "blue": (0.20, 0.36, 0.80),
    "violet": (0.50, 0.28, 0.72),
    "pink": (0.93, 0.52, 0.70),
    "brown": (0.47, 0.30, 0.17),
    "grey": (0.52, 0.54, 0.57),
    "white": (0.95, 0.95, 0.92),
}
COLOURS = tuple(PALETTE)
FAMILIES = ("warm", "green", "blue", "dull")
FAMILY_OF = dict(zip(COLOURS, "warm warm warm green green green blue blue warm dull dull dull".split(), strict=True))
DARK: Colour = (0.08, 0.08, 0.10)
Values = Mapping[str, str]
Line = tuple[float, float, float, float, float, float]
"""Where a stroke goes: x, y and radius at its beginning, and at its end."""


@dataclass(frozen=True)
class Attribute:
    """One way in which creatures of a kind differ.

    Attributes:
        values: its values.
        coarse: for each value the name under which pretraining is told of it: several values may share one.
        shape: whether it is a part or marking (which species differ in) and not a colour.
    """

    name: str
    values: tuple[str, ...]
    coarse: tuple[str, ...]
    shape: bool = True

    @property
    def labels(self) -> tuple[str, ...]:
        """The different coarse names, in order."""
        return tuple(dict.fromkeys(self.coarse))

    def label(self, value: str) -> int:
        """Number of the coarse name of ``value``."""
        return self.labels.index(self.coarse[self.values.index(value)])


def _shape(name: str, **values: str) -> Attribute:
    return Attribute(name, tuple(values), tuple(values.values()))


def _colour(name: str) -> Attribute:
    return Attribute(name, COLOURS, tuple(FAMILY_OF[colour] for colour in COLOURS), shape=False)


@dataclass(frozen=True)
class Kind:
    """A coarse class: its attributes and how its strokes follow from their values."""

    name: str
    attributes: tuple[Attribute, ...]
    draw: Callable[[Values], list[Stroke]]

    @property
    def shapes(self) -> tuple[Attribute, ...]:
        """The attributes that are parts or markings."""
        return tuple(attribute for attribute in self.attributes if attribute.shape)


def _dot(x: float, y: float, r: float, colour: Colour, part: str) -> Stroke:
    return Stroke(x, y, r, x, y, r, colour, part)


def shade(colour: Colour, factor: float) -> Colour:
    """``colour`` darkened (below 1) or moved towards white (above 1)."""
    if factor <= 1:
        return colour[0] * factor, colour[1] * factor, colour[2] * factor
    share = factor - 1
    return tuple(c + (1 - c) * share for c in colour)  # type: ignore[return-value]  # three in, three out


_BEAKS: dict[str, list[Line]] = {
    "short": [(0.60, -0.34, 0.10, 0.84, -0.31, 0.02)],
    "long": [(0.60, -0.34, 0.08, 1.16, -0.26, 0.02)],
    "thick": [(0.60, -0.33, 0.17, 0.90, -0.28, 0.04)],
    "curved": [(0.60, -0.38, 0.10, 0.88, -0.36, 0.08), (0.88, -0.36, 0.08, 1.02, -0.12, 0.02)],
}
_CRESTS: dict[str, list[Line]] = {
    "none": [],
    "tuft": [(0.34, -0.50, 0.10, 0.02, -0.88, 0.02)],
    "fan": [(0.42, -0.5, 0.06, x, y, 0.06) for x, y in ((0.22, -0.88), (0.44, -0.94), (0.66, -0.86))],
}
_TAILS: dict[str, list[Line]] = {
    "short": [(-0.50, 0.16, 0.16, -0.76, 0.24, 0.13)],
    "long": [(-0.50, 0.16, 0.15, -1.16, 0.42, 0.07)],
    "forked": [(-0.50, 0.14, 0.12, -1.08, 0.06, 0.03), (-0.50, 0.18, 0.12, -0.96, 0.52, 0.03)],
    "fan": [(-0.50, 0.14, 0.08, -0.92, y, 0.07) for y in (-0.12, 0.14, 0.40)],
}


def _bird(values: Values) -> list[Stroke]:
    body, wing, cap = (PALETTE[values[name]] for name in ("body", "wing", "cap"))
    light = shade(body, 1.45)
    parts = [Stroke(*line, shade(wing, 0.85), "tail") for line in _TAILS[values["tail"]]]
    parts += [Stroke(x, 0.30, 0.03, x + 0.03, 0.74, 0.03, shade(PALETTE["orange"], 0.7), "legs") for x in (-0.1, 0.08)]
    parts += [Stroke(-0.38, 0.12, 0.26, 0.12, 0.02, 0.34, body, "body")]
    parts += [Stroke(0.12, -0.02, 0.30, 0.42, -0.36, 0.24, body, "body")]
    parts += [Stroke(-0.16, 0.24, 0.10, 0.22, 0.14, 0.16, light, "belly")]
    if values["breast"] == "spotted":
        parts += [
            _dot(x, y, 0.05, DARK, "breast") for x, y in ((0.16, 0.26), (0.28, 0.12), (0.04, 0.32), (0.34, -0.04))
        ]
    elif values["breast"] == "banded":
        parts += [Stroke(0.20, 0.22, 0.06, 0.44, -0.04, 0.06, DARK, "breast")]
    parts += [Stroke(*line, shade(cap, 0.9), "crest") for line in _CRESTS[values["crest"]]]
    parts += [Stroke(0.32, -0.46, 0.12, 0.50, -0.50, 0.11, cap, "head")]
    parts += [Stroke(*line, shade(PALETTE["orange"], 0.8), "beak") for line in _BEAKS[values["beak"]]]
    if values["mask"] == "striped":
        parts += [Stroke(0.30, -0.34, 0.05, 0.66, -0.36, 0.05, DARK, "mask")]
    parts += [_dot(0.50, -0.38, 0.06, DARK, "eye")]
    parts += [Stroke(-0.56, 0.16, 0.07, 0.06, 0.00, 0.20, wing, "wing")]
    for x in {"none": (), "one": (-0.14,), "two": (0.02, -0.26)}[values["bars"]]:
        parts.append(Stroke(x + 0.05, -0.16, 0.05, x - 0.05, 0.18, 0.05, PALETTE["white"], "bars"))
    return parts


_PETALS: dict[str, tuple[float, float, float, float]] = {  # inner distance and radius, outer distance and radius
    "round": (0.26, 0.14, 0.58, 0.25),
    "narrow": (0.20, 0.11, 0.80, 0.09),
    "pointed": (0.34, 0.24, 0.92, 0.02),
}


def _flower(values: Values) -> list[Stroke]:
    petal, middle = PALETTE[values["petal"]], PALETTE[values["middle"]]
    green = shade(PALETTE["green"], 0.85)
    parts = [Stroke(0.0, 0.2, 0.05, 0.1, 1.25, 0.05, green, "stem")]
    for side in {"none": (), "one": (1,), "two": (1, -1)}[values["leaves"]]:
        parts.append(Stroke(0.08, 1.15, 0.05, 0.08 + side * 0.44, 0.88, 0.10, green, "leaves"))
    count = int(values["petals"])
    near, r0, far, r1 = _PETALS[values["form"]]
    wide = min(1.0, 5.5 / count)  # many petals are slimmer ones
    for i in range(count):
        cos, sin = math.cos(2 * math.pi * (i + 0.25) / count), math.sin(2 * math.pi * (i + 0.25) / count)
        leaf = shade(petal, 1.0 if i % 2 else 0.86)
        parts.append(Stroke(near * cos, near * sin, r0 * wide, far * cos, far * sin, r1 * wide, leaf, "petals"))
        if values["marking"] == "veined":
            parts.append(Stroke(0.2 * cos, 0.2 * sin, 0.035, 0.62 * cos, 0.62 * sin, 0.035, DARK, "marking"))
        elif values["marking"] == "tipped":
            parts.append(_dot((far + r1 * 0.2) * cos, (far + r1 * 0.2) * sin, 0.09, PALETTE["white"], "marking"))
    size = {"small": 0.16, "large": 0.28, "ringed": 0.28}[values["disc"]]
    parts.append(_dot(0.0, 0.0, size, middle, "disc"))
    if values["disc"] == "ringed":
        parts.append(_dot(0.0, 0.0, 0.14, DARK, "disc"))
    return parts


_FINS: dict[str, list[Line]] = {
    "round": [(-0.62, 0.0, 0.06, -0.86, 0.0, 0.22)],
    "forked": [(-0.60, 0.0, 0.07, -0.98, -0.34, 0.04), (-0.60, 0.0, 0.07, -0.98, 0.34, 0.04)],
    "streaming": [(-0.60, 0.0, 0.12, -1.20, 0.10, 0.03)],
}


def _fish(values: Values) -> list[Stroke]:
    body, fin = PALETTE[values["body"]], PALETTE[values["fin"]]
    parts = [Stroke(*line, fin, "tail") for line in _FINS[values["tail"]]]
    if values["back"] == "spike":
        parts.append(Stroke(0.05, -0.22, 0.10, -0.22, -0.66, 0.02, fin, "back"))
    elif values["back"] == "sail":
        parts.append(Stroke(0.22, -0.32, 0.12, -0.36, -0.34, 0.10, fin, "back"))
    tall = {"slim": 0.22, "round": 0.36}[values["build"]]
    parts.append(Stroke(-0.52, 0.0, 0.08, 0.22, 0.0, tall, body, "body"))
    parts.append(Stroke(0.22, 0.0, tall, 0.52, 0.04, 0.14, body, "body"))
    parts.append(Stroke(-0.20, 0.12, 0.05, 0.36, 0.14, 0.09, shade(body, 1.5), "belly"))
    for x in {"none": (), "one": (0.04,), "two": (0.14, -0.16), "three": (0.22, -0.02, -0.26)}[values["stripes"]]:
        parts.append(Stroke(x, -0.20, 0.05, x, 0.20, 0.05, DARK, "stripes"))
    parts.append(Stroke(0.08, 0.10, 0.09, -0.14, 0.24, 0.03, fin, "fin"))
    parts.append(_dot(0.42, -0.08, 0.07, PALETTE["white"], "eye"))
    parts.append(_dot(0.43, -0.08, 0.04, DARK, "eye"))
    return parts


def _butterfly(values: Values) -> list[Stroke]:
    upper, lower = PALETTE[values["upper"]], PALETTE[values["lower"]]
    parts = []
    for side in (-1, 1):
        end = {"round": 0.24, "pointed": 0.05}[values["tips"]]
        parts.append(Stroke(side * 0.14, 0.16, 0.12, side * 0.46, 0.46, 0.24, lower, "lower"))
        if values["tails"] == "tailed":
            parts.append(Stroke(side * 0.46, 0.60, 0.07, side * 0.60, 0.98, 0.03, lower, "tails"))
        parts.append(Stroke(side * 0.14, -0.12, 0.16, side * 0.70, -0.52, end, upper, "upper"))
        parts += _wing_marks(values["marks"], side)
        parts.append(Stroke(side * 0.03, -0.42, 0.025, side * 0.22, -0.84, 0.025, DARK, "feelers"))
    parts.append(Stroke(0.0, -0.38, 0.08, 0.0, 0.44, 0.05, shade(PALETTE["brown"], 0.6), "body"))
    return parts


def _wing_marks(marks: str, side: int) -> list[Stroke]:
    if marks == "eyes":
        rings = ((0.12, PALETTE["white"]), (0.06, DARK))
        return [_dot(side * 0.50, -0.40, r, colour, "marks") for r, colour in rings]
    if marks == "spots":
        return [_dot(side * x, y, 0.06, PALETTE["white"], "marks") for x, y in ((0.3, -0.3), (0.58, -0.3), (0.44, 0.5))]
    return [Stroke(side * 0.36, -0.52, 0.05, side * 0.58, -0.16, 0.05, DARK, "marks")] if marks == "bar" else []


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "bird",
            (
                _shape("beak", short="small", long="large", thick="large", curved="large"),
                _shape("crest", none="none", tuft="crested", fan="crested"),
                _shape("tail", short="short", long="long", forked="long", fan="short"),
                _shape("bars", none="plain", one="barred", two="barred"),
                _shape("breast", plain="plain", spotted="marked", banded="marked"),
                _shape("mask", plain="plain", striped="striped"),
                *map(_colour, ("body", "wing", "cap")),
            ),
            _bird,
        ),
        Kind(
            "flower",
            (
                Attribute("petals", ("4", "5", "6", "8"), ("few", "few", "many", "many")),
                _shape("form", round="broad", narrow="slim", pointed="broad"),
                _shape("marking", plain="plain", veined="marked", tipped="marked"),
                _shape("disc", small="small", large="large", ringed="large"),
                _shape("leaves", none="none", one="leafy", two="leafy"),
                *map(_colour, ("petal", "middle")),
            ),
            _flower,
        ),
        Kind(
            "fish",
            (
                _shape("tail", round="short", forked="long", streaming="long"),
                _shape("back", none="none", spike="finned", sail="finned"),
                _shape("build", slim="slim", round="round"),
                _shape("stripes", none="plain", one="striped", two="striped", three="striped"),
                *map(_colour, ("body", "fin")),
            ),
            _fish,
        ),
        Kind(
            "butterfly",
            (
                _shape("tips", round="round", pointed="pointed"),
                _shape("tails", plain="plain", tailed="tailed"),
                _shape("marks", none="plain", eyes="marked", spots="marked", bar="marked"),
                *map(_colour, ("upper", "lower")),
            ),
            _butterfly,
        ),
    )
}
"""Coarse class → how its creatures look."""
