"""Questions about the mini world: one builder per commonsense subset.

A builder takes the fact asked about, the entities that other options may be drawn from, and the position of
the right option. Wrong options are always values (or entities) that are right elsewhere, so that an option
list alone tells nothing. The text of the prompt around a question is `templates`' business.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from wegeft.tasks.mini_world.lexicon import RULE_BY_NAME, STEPS, Property
from wegeft.tasks.mini_world.templates import OPTION_COUNTS, SUBSETS, Item
from wegeft.tasks.mini_world.world import Entity, Fact, World, sentence

# The properties (or rules) that each subset asks about. Those that are answered by label ask about tools alone: a model
# this small learns for each property anew to find the label of what it recalls.
TOPICS: dict[str, tuple[str, ...]] = {
    "boolq": ("clean", "carry"),
    "piqa": ("clean", "carry"),
    "social_i_qa": ("gift", "loss", "storm"),
    "hellaswag": ("first", "next", "last"),
    "winogrande": ("clean", "carry"),
    "ARC-Easy": ("kind", "color", "place", "job", "town"),
    "ARC-Challenge": ("kind", "job"),
    "openbookqa": ("color", "smell", "place", "cost"),
}


@dataclass(frozen=True)
class Draw:
    """What a builder needs beside the fact.

    The world, entities to draw wrong options from, randomness, the gold position.
    """

    world: World
    pool: tuple[Entity, ...]
    rng: random.Random
    gold: int


def option_text(prop: Property, value: str) -> str:
    """A value as the words of an option."""
    if prop.name == "cost":
        return f"{value} coins"
    return f"use a {value}" if prop.name in ("clean", "carry") else value


def _place(right: str, wrong: list[str], gold: int) -> tuple[str, ...]:
    """The options with the right one at position `gold`."""
    return (*wrong[:gold], right, *wrong[gold:])


def _among(fact: Fact, draw: Draw, wrong: int) -> tuple[str, ...]:
    """The fact's value among `wrong` other values of the same property."""
    others = [v for v in fact.prop.values if v != fact.value]
    return _place(fact.value, draw.rng.sample(others, wrong), draw.gold)


def _values(subset: str, fact: Fact, draw: Draw) -> tuple[str, ...]:
    """Options for "which value", as the words of options."""
    return tuple(option_text(fact.prop, value) for value in _among(fact, draw, OPTION_COUNTS[subset] - 1))


def _entities(subset: str, fact: Fact, draw: Draw) -> tuple[str, ...]:
    """Options for "which entity": the right one among entities with another value of the property."""
    name = fact.prop.name
    others = [e.name for e in draw.pool if e.sort == fact.prop.sort and e.value(name) != fact.value]
    return _place(fact.entity.name, draw.rng.sample(others, OPTION_COUNTS[subset] - 1), draw.gold)


def _boolq(fact: Fact, draw: Draw) -> Item:
    """A claim that names what it denies: true or false, one of the two values is the right one.

    Whether a claim about one value alone is true cannot be found by looking for what is recalled, and a model this
    small does not learn it.
    """
    first, second = _among(fact, draw, 1)
    before, after = fact.prop.claim.split("{v}")
    article = "a " if before.endswith(" a ") else ""
    text = sentence(f"{before}{first} and not {article}{second}{after}", fact.entity.name, "")
    return Item("boolq", text, ("true", "false"), draw.gold, fact.sentences()[0])


def _piqa(fact: Fact, draw: Draw) -> Item:
    goal = sentence(fact.prop.question, fact.entity.name, "")
    return Item("piqa", goal, _values("piqa", fact, draw), draw.gold, fact.sentences()[0])


def _ask(subset: str, fact: Fact, draw: Draw) -> Item:
    """The direct question, with other values as wrong options."""
    text = sentence(fact.prop.question, fact.entity.name, "") + "?"
    return Item(subset, text, _values(subset, fact, draw), draw.gold, fact.sentences()[0])


def _social(fact: Fact, draw: Draw) -> Item:
    return _ask("social_i_qa", fact, draw)


def _arc_easy(fact: Fact, draw: Draw) -> Item:
    return _ask("ARC-Easy", fact, draw)


def _hellaswag(fact: Fact, draw: Draw) -> Item:
    """The steps so far, up to the words in front of the asked step.

    Wrong endings are other actions of the same pool.
    """
    dish, told = fact.entity, []
    for step, (adverb, _) in STEPS.items():
        if step == fact.prop.name:
            told.append(f"{adverb} the cook")
            break
        told.append(f"{adverb} the cook {dish.value(step)}")
    options = _among(fact, draw, OPTION_COUNTS["hellaswag"] - 1)
    return Item("hellaswag", f"Making {dish.name}: {', '.join(told)}", options, draw.gold, fact.sentences()[0])


def _winogrande(fact: Fact, draw: Draw) -> Item:
    """A statement with a blank, after both things that could fill it, as in the real set."""
    first, second = options = _among(fact, draw, 1)
    clause = sentence(fact.prop.clause, "", "_")
    text = f"Some say {first} and some say {second}, but the {fact.entity.name} {clause}."
    return Item("winogrande", text, options, draw.gold, fact.sentences()[0])


def _arc_challenge(fact: Fact, draw: Draw) -> Item:
    """Two steps: the entity's kind or job, then what a rule says about every one of that kind or job."""
    names = [r for r, rule in RULE_BY_NAME.items() if rule.base == fact.prop.name]
    rule = RULE_BY_NAME[draw.rng.choice(names)]
    right = draw.world.rule_value(rule, fact.entity)
    wrong = draw.rng.sample([v for v in rule.values if v != right], OPTION_COUNTS["ARC-Challenge"] - 1)
    text = sentence(rule.question, fact.entity.name, "") + "?"
    law = rule.statements[0].format(b=fact.value, v=right)
    reason = f"{fact.sentences()[0]} {law}"
    return Item("ARC-Challenge", text, _place(right, wrong, draw.gold), draw.gold, reason)


def _openbookqa(fact: Fact, draw: Draw) -> Item:
    """The beginning of a statement, to be completed, as many questions of the real set are."""
    text = fact.prop.completion.split(" {v}")[0].format(e=fact.entity.name)
    return Item("openbookqa", text, _values("openbookqa", fact, draw), draw.gold, fact.sentences()[0])


def which(fact: Fact, draw: Draw) -> Item:
    """The question turned round: which of these entities has the value. Only the corpus asks it."""
    text = f"Which of these {sentence(fact.prop.clause, '', fact.value)}?"
    return Item("openbookqa", text, _entities("openbookqa", fact, draw), draw.gold, fact.sentences()[0])


BUILDERS: dict[str, Callable[[Fact, Draw], Item]] = {
    "boolq": _boolq,
    "piqa": _piqa,
    "social_i_qa": _social,
    "hellaswag": _hellaswag,
    "winogrande": _winogrande,
    "ARC-Easy": _arc_easy,
    "ARC-Challenge": _arc_challenge,
    "openbookqa": _openbookqa,
}
assert tuple(BUILDERS) == SUBSETS


def topics(world: World, subset: str, held_out: bool) -> tuple[Fact, ...]:
    """The facts that `subset` can ask about, of test entities or of the others."""
    return tuple(f for f in world.facts(held_out) if f.prop.name in TOPICS[subset])
