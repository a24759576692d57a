"""The named picture sets that tasks are made of: what is in a picture of a class.

| set | classes | mirrors |
|---|---|---|
| birds, flowers | 20 species each | FGVC |
| things | 10 kinds that pretraining never shows | VTAB-1k, natural |
| land | 8 kinds of land from above | VTAB-1k, specialised |
| counting | 1 to 6 flowers | VTAB-1k, structured (CLEVR count) |
| position | which of 8 columns a butterfly is in | VTAB-1k, structured (dSprites location) |
| orientation | which of 8 ways a fish swims | VTAB-1k, structured (dSprites orientation) |

Picture ``index`` of a split of a set is a pure function of these and of the seed of the world; classes take turns.

Does not: know tasks, transforms or networks.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from wegeft.tasks.mini_pictures.creatures import KINDS
from wegeft.tasks.mini_pictures.scenes import Picture, compose, landscape, pose
from wegeft.tasks.mini_pictures.species import FINE, species_of
from wegeft.tasks.mini_pictures.strokes import Pose, Stroke
from wegeft.tasks.mini_pictures.things import LAND, THINGS

Split = Literal["train", "val", "test"]
SCALE = (0.36, 0.44)
"""Size of the unit of an object that fills a picture, in pictures."""
MOST = 6
WAYS = 8


@dataclass(frozen=True)
class PictureSet:
    """A set's classes, and how one picture of a class is drawn from a random stream, a class and a size."""

    name: str
    classes: tuple[str, ...]
    draw: Callable[[random.Random, int, int], Picture]
    seed: int

    def label(self, index: int) -> int:
        """Class of picture ``index``, whatever the split."""
        return index % len(self.classes)

    def picture(self, split: Split, index: int, size: int) -> Picture:
        """Picture ``index`` (from 0) of ``split``, ``size`` pixels high and wide."""
        rng = random.Random(f"wegeft mini pictures {self.seed} {self.name} {split} {index}")
        return self.draw(rng, self.label(index), size)


def _species(rng: random.Random, label: int, size: int, *, kind: str, seed: int) -> Picture:
    chosen = species_of(kind, seed)[label]
    return compose(rng, [pose(rng, SCALE).place(KINDS[kind].draw(dict(chosen.values)))], size)


def _thing(rng: random.Random, label: int, size: int) -> Picture:
    return compose(rng, [pose(rng, SCALE).place(list(THINGS.values())[label](rng))], size)


def _land(rng: random.Random, label: int, size: int) -> Picture:
    return landscape(rng, list(LAND.values())[label](rng), size)


def creature(rng: random.Random, kind: str) -> list[Stroke]:
    """A creature of ``kind`` with any looks, in units of its own."""
    return KINDS[kind].draw({attribute.name: rng.choice(attribute.values) for attribute in KINDS[kind].attributes})


def _counting(rng: random.Random, label: int, size: int) -> Picture:
    # On a grid of three by three with a little play, so that no flower hides another.
    cells = rng.sample([(i, j) for i in range(3) for j in range(3)], label + 1)
    looks = creature(rng, "flower")
    head = [stroke for stroke in looks if stroke.part not in ("stem", "leaves")]
    poses = [
        Pose((i + rng.uniform(0.4, 0.6)) / 3, (j + rng.uniform(0.4, 0.6)) / 3, rng.uniform(0.13, 0.17), rng.random())
        for i, j in cells
    ]
    return compose(rng, [at.place(head) for at in poses], size)


def _position(rng: random.Random, label: int, size: int) -> Picture:
    x = 0.1 + 0.8 * (label + rng.random()) / WAYS
    at = replace(pose(rng, (0.14, 0.2), inset=0.15), x=x)
    return compose(rng, [at.place(creature(rng, "butterfly"))], size)


def _orientation(rng: random.Random, label: int, size: int) -> Picture:
    angle = 2 * math.pi * (label + rng.uniform(-0.4, 0.4)) / WAYS
    at = replace(pose(rng, SCALE), angle=angle, mirrored=False)
    return compose(rng, [at.place(creature(rng, "fish"))], size)


COMPASS = ("east", "south-east", "south", "south-west", "west", "north-west", "north", "north-east")


def picture_sets(seed: int) -> dict[str, PictureSet]:
    """Every set of the world ``seed``, by name."""
    species = [
        PictureSet(name, tuple(s.name for s in species_of(kind, seed)), partial(_species, kind=kind, seed=seed), seed)
        for name, kind in FINE.items()
    ]
    others = [
        PictureSet("things", tuple(THINGS), _thing, seed),
        PictureSet("land", tuple(LAND), _land, seed),
        PictureSet("counting", tuple(str(count + 1) for count in range(MOST)), _counting, seed),
        PictureSet("position", tuple(f"column {column + 1}" for column in range(WAYS)), _position, seed),
        PictureSet("orientation", COMPASS, _orientation, seed),
    ]
    return {found.name: found for found in (*species, *others)}
