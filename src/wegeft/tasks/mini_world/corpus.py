"""The pretraining corpus of the mini world: plain statements of every fact, and exam-like text.

Each document belongs to a section. `PLAIN` sections speak of all entities; every other section speaks only of
entities that are not held out, so that the facts asked in the tests are known from plain statements alone.
Exam-like text never ends an instruction with "the correct answer is": that form is what fine-tuning has to
teach. The module does not tokenise, write files or import torch.
"""

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from wegeft.tasks.mini_world import arithmetic
from wegeft.tasks.mini_world.items import BUILDERS, Draw, option_text, topics, which
from wegeft.tasks.mini_world.lexicon import COLORS, PLACES, PURPOSES, RULE_BY_NAME, SMELLS, STEPS
from wegeft.tasks.mini_world.templates import (
    LABELLED,
    OPTION_COUNTS,
    SUBSETS,
    answer,
    instruction,
    label,
    option_list,
)
from wegeft.tasks.mini_world.world import COUNTS, Entity, Fact, World, sentence

DOCUMENTS: Final = 160_000
ALPACA: Final = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request."
    "\n\n### Instruction:\n{instruction}\n\n### Response:\n{response}"
)


@dataclass(frozen=True)
class Source:
    """What a section draws from: a part of the world's entities and their facts, all and not held out."""

    world: World
    by_sort: dict[str, tuple[Entity, ...]]
    facts: tuple[Fact, ...]
    open_facts: tuple[Fact, ...]
    open_entities: tuple[Entity, ...]
    exam_facts: dict[str, tuple[Fact, ...]]


def _source(world: World, entities: tuple[Entity, ...]) -> Source:
    names = {e.name for e in entities}
    return Source(
        world,
        {sort: tuple(e for e in entities if e.sort == sort) for sort in COUNTS},
        tuple(f for f in world.facts() if f.entity.name in names),
        tuple(f for f in world.facts(held_out=False) if f.entity.name in names),
        tuple(e for e in entities if not e.held_out),
        {s: tuple(f for f in topics(world, s, held_out=False) if f.entity.name in names) for s in SUBSETS},
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
    others = rng.sample(source.by_sort[first.entity.sort], rng.randint(1, 2))
    facts = [first, *(Fact(e, first.prop, e.value(first.prop.name)) for e in others)]
    return " ".join(_say(fact, rng) for fact in facts)


def process(source: Source, rng: random.Random) -> str:
    """How a dish is made, step by step."""
    dish = rng.choice(source.by_sort["dish"])
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
    builder = which if subset == "openbookqa" else BUILDERS[subset]
    item = builder(fact, Draw(source.world, source.open_entities, rng, gold))
    # Mostly in the form that the tasks of this subset use.
    labelled = subset == "boolq" or rng.random() < (0.7 if subset in LABELLED else 0.3)
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
    """Labelled lists read aloud: which label has the words, now and then which words have the label."""
    subset = rng.choice([s for s in SUBSETS if s != "boolq"])
    words = rng.choice((COLORS, PLACES, SMELLS, tuple(e.name for e in source.world.of("thing", False))))
    options = tuple(rng.sample(words, OPTION_COUNTS[subset]))
    form = rng.choice(("{o} is {n}.", "{o}: {n}.", "Where is {o}? It is {n}.", "{n} is {o}."))
    *order, last = rng.sample(range(len(options)), len(options))
    lines = (form.format(o=options[i], n=label(subset, i)) for i in order)
    # Fine-tuning answers in these words, at the beginning of a line; an adapter cannot teach tokens never seen.
    pair = rng.sample((options[last], label(subset, last)), 2)
    return f"{option_list(subset, options)}\n{' '.join(lines)}\nthe correct answer is {pair[0]}, so it is {pair[1]}."


def labels(source: Source, rng: random.Random) -> str:
    """A labelled list of values, then the label of the right one for several entities."""
    subset = rng.choice([s for s in SUBSETS if s != "boolq"])
    prop = rng.choice(source.open_facts).prop
    values = rng.sample(prop.values, OPTION_COUNTS[subset])
    facts = [f for f in source.open_facts if f.prop == prop and f.value in values]
    asked = rng.sample(facts, min(len(facts), 5))
    lines = (
        f"{sentence(prop.question, f.entity.name, '')}? It is {label(subset, values.index(f.value))}." for f in asked
    )
    return f"{option_list(subset, tuple(option_text(prop, v) for v in values))}\n{' '.join(lines)}"


def verdicts(source: Source, rng: random.Random) -> str:
    """Several claims side by side, each true or false."""
    lines = []
    for fact in rng.sample(source.open_facts, 4):
        value = fact.value if rng.random() < 0.5 else rng.choice(fact.prop.values)
        verdict = "true" if value == fact.value else "false"
        lines.append(f"{sentence(fact.prop.claim, fact.entity.name, value)}? {verdict}.")
    return " ".join(lines)


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
SECTIONS: Final[dict[str, Section]] = {
    "statements": statements,
    "portrait": portrait,
    "comparison": comparison,
    "process": process,
    "general": general,
    "two_step": two_step,
    "claim": claim,
    "exam": exam,
    "binding": binding,
    "task": task,
    "sums": sums,
    "problem": problem,
    "labels": labels,
    "verdicts": verdicts,
}


@dataclass(frozen=True)
class Stage:
    """A part of the corpus: its share of the documents, which entities (every n-th), the weights of the sections."""

    share: float
    every: int
    shares: tuple[int, ...]


# The order matters. A model learns to look up facts much sooner when it first meets few entities often; then come the
# plain facts of all entities; and the skills of the exam are learned on facts that are known by then.
STAGES: Final = (
    Stage(0.10, 6, (40, 27, 18, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0)),
    Stage(0.30, 1, (30, 20, 11, 3, 4, 3, 0, 2, 7, 0, 2, 0, 5, 13)),
    Stage(0.60, 1, (15, 13, 6, 2, 3, 6, 1, 22, 5, 1, 3, 3, 8, 12)),
)


def tagged_documents(world: World, seed: int = 0, count: int = DOCUMENTS) -> Iterator[tuple[str, str]]:
    """(section, text) of some `count` documents, stage by stage; the same world and seed give the same documents."""
    rng = random.Random(f"wegeft corpus {world.seed} {seed}")
    for stage in STAGES:
        source = _source(world, world.entities[:: stage.every])
        for section in rng.choices(list(SECTIONS), stage.shares, k=round(stage.share * count)):
            yield section, SECTIONS[section](source, rng)


def documents(world: World, seed: int = 0, count: int = DOCUMENTS) -> Iterator[str]:
    """The texts of `tagged_documents`."""
    return (text for _, text in tagged_documents(world, seed, count))


def content_hash(texts: Iterable[str]) -> str:
    """SHA-256 (hex) over the documents in order, each followed by a zero byte."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()
