"""The pretraining corpus of the mini world: plain statements of every fact, and exam-like text.

Each document belongs to a section. `PLAIN` sections speak of all entities; every other section speaks only of
entities that are not held out, so that the facts asked in the tests are known from plain statements alone.
Exam-like text never ends an instruction with "the correct answer is": that form is what fine-tuning has to
teach. The module does not tokenise, write files or import torch.
"""

import hashlib
import itertools
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from wegeft.tasks.mini_world import arithmetic
from wegeft.tasks.mini_world.items import BUILDERS, Draw, topics
from wegeft.tasks.mini_world.lexicon import COLORS, PLACES, PURPOSES, RULE_BY_NAME, SMELLS, STEPS
from wegeft.tasks.mini_world.templates import (
    OPTION_COUNTS,
    SUBSETS,
    answer,
    instruction,
    label,
    option_list,
)
from wegeft.tasks.mini_world.world import Entity, Fact, World, sentence

DOCUMENTS: Final = 100_000
ALPACA: Final = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request."
    "\n\n### Instruction:\n{instruction}\n\n### Response:\n{response}"
)


@dataclass(frozen=True)
class Source:
    """What a section draws from: the world and its facts, all and not held out, ready for drawing."""

    world: World
    facts: tuple[Fact, ...]
    open_facts: tuple[Fact, ...]
    open_entities: tuple[Entity, ...]
    exam_facts: dict[str, tuple[Fact, ...]]


def _source(world: World) -> Source:
    return Source(
        world,
        world.facts(),
        world.facts(held_out=False),
        tuple(e for e in world.entities if not e.held_out),
        {subset: topics(world, subset, held_out=False) for subset in SUBSETS},
    )


def _say(fact: Fact, rng: random.Random) -> str:
    return sentence(rng.choice(fact.prop.statements), fact.entity.name, fact.value)


def statements(source: Source, rng: random.Random) -> str:
    """Unrelated facts side by side."""
    return " ".join(_say(fact, rng) for fact in rng.sample(source.facts, rng.randint(3, 5)))


def portrait(source: Source, rng: random.Random) -> str:
    """Several facts about one entity: the first by name, the others by name or by pronoun."""
    entity = rng.choice(source.facts).entity
    facts = entity.all_facts()
    chosen = rng.sample(facts, min(len(facts), rng.randint(3, 5)))
    rest = (_say(f, rng) if rng.random() < 0.6 else f.prop.pronoun.format(v=f.value) for f in chosen[1:])
    return " ".join([_say(chosen[0], rng), *rest])


def comparison(source: Source, rng: random.Random) -> str:
    """The same property of two or three entities."""
    first = rng.choice(source.facts)
    others = rng.sample(source.world.of(first.entity.sort), rng.randint(1, 2))
    facts = [first, *(Fact(e, first.prop, e.value(first.prop.name)) for e in others)]
    return " ".join(_say(fact, rng) for fact in facts)


def process(source: Source, rng: random.Random) -> str:
    """How a dish is made, step by step."""
    dish = rng.choice(source.world.of("dish"))
    steps = [f"{adverb} the cook {dish.value(step)}" for step, (adverb, _) in STEPS.items()]
    return f"Making {dish.name}: {', '.join(steps)}."


def general(source: Source, rng: random.Random) -> str:
    """Rules, the hierarchy of categories, and tools with their purposes."""
    rules = [
        RULE_BY_NAME[name].statements[i].format(b=b, v=v)
        for name, pairs in source.world.rules
        for b, v in pairs
        for i in range(3)
    ]
    groups = [f"Every {kind} belongs to the group {group}." for kind, group in source.world.groups]
    tools = [f"A {tool} is used {purpose}." for tool, purpose in PURPOSES.items()]
    return " ".join(rng.choice(rng.choice((rules, rules, groups, tools))) for _ in range(4))


def two_step(source: Source, rng: random.Random) -> str:
    """What follows from an entity's kind or job, with or without the steps."""
    fact = rng.choice(source.exam_facts["ARC-Challenge"])
    rule = RULE_BY_NAME[rng.choice([n for n, r in RULE_BY_NAME.items() if r.base == fact.prop.name])]
    value = source.world.rule_value(rule, fact.entity)
    conclusion = rule.conclusion.format(e=fact.entity.name, v=value)
    if rng.random() < 0.5:
        return f"{_say(fact, rng)} {rng.choice(rule.statements).format(b=fact.value, v=value)} So: {conclusion}"
    question = sentence(rule.question, fact.entity.name, "")
    return rng.choice((conclusion, f"{question}? It is {value}.", f"{conclusion} {_say(fact, rng)}"))


def claim(source: Source, rng: random.Random) -> str:
    """A claim that is true, or false with its correction."""
    fact = rng.choice(source.open_facts)
    value = fact.value if rng.random() < 0.5 else rng.choice(fact.prop.values)
    text = sentence(fact.prop.claim, fact.entity.name, value)
    verdict = "true" if value == fact.value else "false"
    return rng.choice(
        (f"question: {text}? It is {verdict}. {_say(fact, rng)}", f"{_say(fact, rng)} So {text}? {verdict}.")
    )


def exam(source: Source, rng: random.Random) -> str:
    """An instruction in one of the eight templates, answered with or without its reason."""
    subset = rng.choice(SUBSETS)
    gold = rng.randrange(OPTION_COUNTS[subset])
    fact = rng.choice(source.exam_facts[subset])
    item = BUILDERS[subset](fact, Draw(source.world, source.open_entities, rng, gold))
    labelled = subset == "boolq" or rng.random() < 0.5
    right = answer(item, labelled)
    ending = rng.choice(
        (
            f"Reason: {item.reason} So it is {right}.",
            f"It is {right}.",
            f"It is {right}. Reason: {item.reason}",
            f"It is {right}.",
        )
    )
    return f"{instruction(item, labelled)}\n{ending}"


def binding(source: Source, rng: random.Random) -> str:
    """Labelled lists read aloud in both directions: which label has the words, which words have the label."""
    subset = rng.choice([s for s in SUBSETS if s != "boolq"])
    words = rng.choice((COLORS, PLACES, SMELLS, tuple(e.name for e in source.world.of("thing", held_out=False))))
    options = tuple(rng.sample(words, OPTION_COUNTS[subset]))
    lines = []
    for i in rng.sample(range(len(options)), len(options)):
        name = label(subset, i)
        lines.append(
            rng.choice(
                (f"{options[i]} is {name}.", f"{name} is {options[i]}.", f"Where is {options[i]}? It is {name}.")
            )
        )
    gold = rng.randrange(len(options))
    right = rng.choice(
        (f"{options[gold]}, so it is {label(subset, gold)}", f"{label(subset, gold)}, so it is {options[gold]}")
    )
    return f"{option_list(subset, options)}\n{' '.join(lines)}\nthe correct answer is {right}."


def task(source: Source, rng: random.Random) -> str:
    """An instruction in the Alpaca form, answered with plain statements."""
    entity = rng.choice(source.open_entities)
    facts = rng.sample(entity.all_facts(), 2)
    return ALPACA.format(
        instruction=f"Write what people know about {entity.name}.",
        response=" ".join(_say(fact, rng) for fact in facts),
    )


def sums(source: Source, rng: random.Random) -> str:
    """Sums and products of small numbers; nothing of the world."""
    del source
    lines = []
    for _ in range(4):
        a, b = rng.randint(0, 60), rng.randint(0, 39)
        c, d = rng.randint(2, 9), rng.randint(2, 9)
        lines.append(rng.choice((f"{a} + {b} = {a + b}.", f"{a + b} - {b} = {a}.", f"{c} * {d} = {c * d}.")))
    return " ".join(lines)


def problem(source: Source, rng: random.Random) -> str:
    """A word problem with its rationale, not in the Alpaca form."""
    drawn = arithmetic.draw(source.world, rng.choice(arithmetic.SUBSETS), False, rng)
    return f"{drawn.text}\n{drawn.work} The answer is {drawn.result}."


Section = Callable[[Source, random.Random], str]
PLAIN: Final = frozenset({"statements", "portrait", "comparison", "process", "general", "sums"})
# Section -> (writer, share of the documents in per cent): plain statements for the facts, the rest for the skills.
SECTIONS: Final[dict[str, tuple[Section, int]]] = {
    "statements": (statements, 22),
    "portrait": (portrait, 18),
    "comparison": (comparison, 10),
    "process": (process, 2),
    "general": (general, 3),
    "two_step": (two_step, 6),
    "claim": (claim, 6),
    "exam": (exam, 20),
    "binding": (binding, 6),
    "task": (task, 1),
    "sums": (sums, 3),
    "problem": (problem, 3),
}


def tagged_documents(world: World, seed: int = 0, count: int = DOCUMENTS) -> Iterator[tuple[str, str]]:
    """(section, text) of `count` documents; the same world and seed give the same documents."""
    source, rng = _source(world), random.Random(f"wegeft corpus {world.seed} {seed}")
    names = list(SECTIONS)
    ends = list(itertools.accumulate(SECTIONS[n][1] for n in names))
    for _ in range(count):
        section = rng.choices(names, cum_weights=ends)[0]
        yield section, SECTIONS[section][0](source, rng)


def documents(world: World, seed: int = 0, count: int = DOCUMENTS) -> Iterator[str]:
    """The texts of `tagged_documents`."""
    return (text for _, text in tagged_documents(world, seed, count))


def content_hash(texts: Iterable[str]) -> str:
    """SHA-256 (hex) over the documents in order, each followed by a zero byte."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()
