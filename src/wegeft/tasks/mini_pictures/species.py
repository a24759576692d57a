"""The species of the fine-grained tasks: combinations of attributes, in genera that look alike.

The species of a genus share their colours and differ in one or two parts or markings, so that telling them apart takes
a look at the parts. No two species of a kind have the same combination of parts, and pretraining shows none of these
combinations in any colours (`pretraining`).

Does not: draw anything.
"""

import random
from dataclasses import dataclass
from functools import cache

from wegeft.tasks.mini_pictures.creatures import KINDS, Kind, Values

FINE = {"birds": "bird", "flowers": "flower"}
"""Set of species → their kind; the other kinds have no species."""
GENERA = 5
SPECIES_PER_GENUS = 4


@dataclass(frozen=True)
class Species:
    """A named combination of attribute values; ``genus`` counts from 0."""

    name: str
    kind: str
    genus: int
    values: tuple[tuple[str, str], ...]

    @property
    def shapes(self) -> tuple[str, ...]:
        """The values of the attributes that are parts or markings, in the order of the kind's."""
        return shapes_of(KINDS[self.kind], dict(self.values))


def shapes_of(kind: Kind, values: Values) -> tuple[str, ...]:
    """The values of the parts and markings among ``values``, in the order of the kind's attributes."""
    return tuple(values[attribute.name] for attribute in kind.shapes)


@cache
def species_of(kind: str, seed: int) -> tuple[Species, ...]:
    """The species of ``kind``, one of `FINE`, in the world ``seed``, genus by genus."""
    rng = random.Random(f"wegeft mini pictures {seed} species {kind}")
    found: list[Species] = []
    taken: set[tuple[str, ...]] = set()
    for genus in range(GENERA):
        base = {attribute.name: rng.choice(attribute.values) for attribute in KINDS[kind].attributes}
        for number in range(SPECIES_PER_GENUS):
            values = _new_member(rng, KINDS[kind], base, taken)
            taken.add(shapes_of(KINDS[kind], values))
            found.append(Species(f"{kind}-{genus + 1}{'abcd'[number]}", kind, genus, tuple(values.items())))
    return tuple(found)


@cache
def held_out_shapes(kind: str, seed: int) -> frozenset[tuple[str, ...]]:
    """The combinations of parts that belong to species; none for a kind without species."""
    return frozenset(species.shapes for species in species_of(kind, seed)) if kind in FINE.values() else frozenset()


def _new_member(rng: random.Random, kind: Kind, base: dict[str, str], taken: set[tuple[str, ...]]) -> dict[str, str]:
    """``base`` with one or two parts changed into a combination that is not ``taken``."""
    while True:
        values = dict(base)
        for attribute in rng.sample(kind.shapes, rng.choice((1, 2))):
            values[attribute.name] = rng.choice([value for value in attribute.values if value != base[attribute.name]])
        if shapes_of(kind, values) not in taken:
            return values
