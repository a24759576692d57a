"""The seeded mini world: named entities with properties, categories, rules, and which entities are held out.

Pure data: nothing here writes text beyond single sentences, reads files or imports torch. The same seed gives
the same world in every process (random streams are seeded with strings, which does not depend on
PYTHONHASHSEED).
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from wegeft.tasks.mini_world.lexicon import (
    BY_NAME,
    JOBS,
    KIND_GROUPS,
    KINDS,
    PROPERTIES,
    RULES,
    Property,
    Rule,
    Sort,
    properties_of,
)

COUNTS: dict[Sort, int] = {"thing": 150, "person": 72, "dish": 72}
# One entity in three is a test entity: its facts are in the corpus and in no fine-tuning row.
HELD_OUT_EVERY = 3

_ONSETS = tuple("b d f g k l m n p r s t v z".split()) + tuple(
    "bl br dr fl fr gl gr kl kr pl pr sk sl sn st tr".split()
)
_CODAS = tuple("lb lv nz rv rg vk zd zz".split())
_PERSON_STARTS = tuple("Ba Be Da Do Fe Fi Ga Ha Ja Ka Ke La Lo Ma Mi Na Ne Pa Ra Ro Sa Ta Ti Va Ve Zo".split())
_PERSON_ENDS = tuple("bo dra lo mir na nel rik sa to vi".split())
# Pronounceable strings that are English words (or names of the corpus) and so must not name an entity.
_TAKEN = frozenset(
    "bulb blurb serv berg burg birg fizz fuzz buzz jazz razz frizz pizz sizz".split()
    + "Lolo Dodra Sasa Bebo Mina Nana Sana".split()
)


@dataclass(frozen=True)
class Entity:
    """One named thing, person or dish. `facts` maps property name -> value, in lexicon order."""

    name: str
    sort: Sort
    facts: tuple[tuple[str, str], ...]
    held_out: bool

    def value(self, prop: str) -> str:
        """The entity's value of the property `prop`; KeyError if its sort has no such property."""
        return dict(self.facts)[prop]

    def all_facts(self) -> "tuple[Fact, ...]":
        """The entity's facts, in lexicon order."""
        return tuple(Fact(self, BY_NAME[name], value) for name, value in self.facts)


@dataclass(frozen=True)
class Fact:
    """An entity's value of one property."""

    entity: Entity
    prop: Property
    value: str

    def sentences(self) -> tuple[str, ...]:
        """The fact in every stand-alone wording."""
        return tuple(sentence(text, self.entity.name, self.value) for text in self.prop.statements)


def sentence(template: str, entity: str, value: str) -> str:
    """Fill `{e}` and `{v}`; capitals come from the template or from the name itself."""
    return template.format(e=entity, v=value)


@dataclass(frozen=True)
class World:
    """All entities, the rules (value -> value) and the seed they came from."""

    seed: int
    entities: tuple[Entity, ...]
    rules: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    groups: tuple[tuple[str, str], ...] = field(default=tuple(KIND_GROUPS.items()))

    @cached_property
    def _rule_tables(self) -> dict[str, dict[str, str]]:
        return {name: dict(pairs) for name, pairs in self.rules}

    def of(self, sort: Sort, held_out: bool | None = None) -> tuple[Entity, ...]:
        """Entities of a sort; `held_out` True: only test entities, False: only the others, None: all."""
        return tuple(e for e in self.entities if e.sort == sort and held_out in (None, e.held_out))

    def facts(self, held_out: bool | None = None) -> tuple[Fact, ...]:
        """Every fact about the chosen entities, in a fixed order."""
        chosen = (e for e in self.entities if held_out in (None, e.held_out))
        return tuple(fact for entity in chosen for fact in entity.all_facts())

    def rule_value(self, rule: Rule, entity: Entity) -> str:
        """What `rule` says about `entity`: two steps, entity -> base value -> rule value."""
        return self._rule_tables[rule.name][entity.value(rule.base)]


def _stream(seed: int, purpose: str) -> random.Random:
    return random.Random(f"wegeft mini world {seed} {purpose}")


def _names(rng: random.Random) -> dict[Sort, list[str]]:
    """Distinct names per sort.

    One-syllable words for things and dishes, capitalised two-syllable ones for people.
    """
    words = [a + v + c for a in _ONSETS for v in "aeiou" for c in _CODAS]
    words = [w for w in words if w not in _TAKEN]
    people = [a + b for a in _PERSON_STARTS for b in _PERSON_ENDS if a + b not in _TAKEN]
    rng.shuffle(words)
    rng.shuffle(people)
    things, dishes = COUNTS["thing"], COUNTS["dish"]
    return {"thing": words[:things], "dish": words[things : things + dishes], "person": people[: COUNTS["person"]]}


def _balanced(values: Iterable[str], count: int, rng: random.Random) -> list[str]:
    """`count` values, each value equally often (up to one), in random order."""
    pool = list(values)
    drawn = [pool[i % len(pool)] for i in range(count)]
    rng.shuffle(drawn)
    return drawn


def _balanced_over_split(prop: Property, count: int, rng: random.Random) -> list[str]:
    """Values balanced within the test entities and within the others: no value is a better guess in one of them."""
    held = len(range(0, count, HELD_OUT_EVERY))
    test, rest = _balanced(prop.values, held, rng), _balanced(prop.values, count - held, rng)
    return [test.pop() if i % HELD_OUT_EVERY == 0 else rest.pop() for i in range(count)]


def _entities(sort: Sort, names: list[str], rng: random.Random) -> list[Entity]:
    props = properties_of(sort)
    columns = {p.name: _balanced_over_split(p, len(names), rng) for p in props}
    return [
        Entity(name, sort, tuple((p.name, columns[p.name][i]) for p in props), i % HELD_OUT_EVERY == 0)
        for i, name in enumerate(names)
    ]


def _rules(rng: random.Random) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    tables = []
    for rule in RULES:
        bases = KINDS if rule.base == "kind" else JOBS
        tables.append((rule.name, tuple(zip(bases, _balanced(rule.values, len(bases), rng), strict=True))))
    return tuple(tables)


def build_world(seed: int = 0) -> World:
    """The world of `seed`.

    294 entities, 1,626 facts, 24 rule entries; a third of the entities is held out for testing.
    """
    names = _names(_stream(seed, "names"))
    entities = [e for sort in COUNTS for e in _entities(sort, names[sort], _stream(seed, f"facts of {sort}"))]
    return World(seed, tuple(entities), _rules(_stream(seed, "rules")))


assert {p.sort for p in PROPERTIES} == set(COUNTS)
