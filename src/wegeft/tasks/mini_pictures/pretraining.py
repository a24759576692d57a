"""What the mini ViT is pretrained on: creatures of the four kinds with their coarse class and coarse attributes.

A label is told per attribute and only coarsely (a beak is small or large, a colour warm or green), one per kind and
attribute, and the kind itself. Combinations of parts that belong to a species of a task are never shown; neither are
the things, the land, or any picture of a task.

Does not: train.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from wegeft.tasks.mini_pictures.creatures import KINDS, Kind, Values
from wegeft.tasks.mini_pictures.scenes import Picture, compose, pose
from wegeft.tasks.mini_pictures.sets import SCALE
from wegeft.tasks.mini_pictures.species import held_out_shapes, shapes_of

KIND = "kind"
"""Name of the question that every picture answers."""


@dataclass(frozen=True)
class Labelled:
    """A picture of a creature.

    Attributes:
        values: what the creature looks like, finer than pretraining is told.
        labels: number of the right answer to each question that it answers.
    """

    picture: Picture
    values: tuple[tuple[str, str], ...]
    labels: Mapping[str, int]


@cache
def questions() -> dict[str, tuple[str, ...]]:
    """Every question with its answers; all but the kind are asked of one kind only, e.g. ``bird/beak``."""
    attributes = {f"{kind.name}/{a.name}": a.labels for kind in KINDS.values() for a in kind.attributes}
    return {KIND: tuple(KINDS), **attributes}


def labelled(seed: int, index: int, size: int) -> Labelled:
    """Pretraining picture ``index`` of the world ``seed``; kinds take turns."""
    rng = random.Random(f"wegeft mini pictures {seed} pretraining {index}")
    number = index % len(KINDS)
    kind = list(KINDS.values())[number]
    values = unheld(rng, kind, seed)
    picture = compose(rng, [pose(rng, SCALE).place(kind.draw(values))], size)
    told = {f"{kind.name}/{a.name}": a.label(values[a.name]) for a in kind.attributes}
    return Labelled(picture, tuple(values.items()), {KIND: number, **told})


def unheld(rng: random.Random, kind: Kind, seed: int) -> Values:
    """Random looks whose combination of parts belongs to no species."""
    while True:
        values = {attribute.name: rng.choice(attribute.values) for attribute in kind.attributes}
        if shapes_of(kind, values) not in held_out_shapes(kind.name, seed):
            return values
