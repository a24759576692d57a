"""The pretraining corpus of the mini world: plain statements of every fact, and exam-like text.

Each document belongs to a section. `PLAIN` sections speak of all entities; every other section speaks only of
entities that are not held out, so that the facts asked in the tests are known from plain statements alone.
Exam-like text never ends an instruction with "the correct answer is": that form is what fine-tuning has to
teach. A document says which of its parts are to be learned; lists of random words and questions are only read.
The module does not tokenise, write files or import torch.
"""

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from wegeft.tasks.mini_world import arithmetic
from wegeft.tasks.mini_world.items import BUILDERS, Draw, topics, which
from wegeft.tasks.mini_world.lexicon import CARRIERS, CLEANERS, PROPERTIES, PURPOSES, RULE_BY_NAME, STEPS
from wegeft.tasks.mini_world.templates import (
    LABELLED,
    OPTION_COUNTS,
    OPTION_WORDS,
    SUBSETS,
    answer,
    instruction,
    label,
    option_list,
)
from wegeft.tasks.mini_world.world import COUNTS, Entity, Fact, World, sentence

DOCUMENTS: Final = 180_000
ALPACA: Final = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request."
    "\n\n### Instruction:\n{instruction}\n\n### Response:\n{response}"
)

# A document, in parts that are in turn read and learned. Random lists and questions cannot be predicted: where they
# count in the loss, they drown what there is to learn. A document of one text is learned whole.
Parts = tuple[str, ...]

LABELLED_SUBSETS: Final = tuple(s for s in SUBSETS if s in LABELLED)
BINDING: Final = tuple(s for s in SUBSETS if s != "boolq")
WORDS: Final = tuple(dict.fromkeys(p.values for p in PROPERTIES if p.sort != "dish" and p.name != "cost"))


@dataclass(frozen=True)
class Source:
    """What a section draws from: the world's entities and their facts, all and not held out."""

    world: World
    by_sort: dict[str, tuple[Entity, ...]]
    facts: tuple[Fact, ...]
    tool_facts: tuple[Fact, ...]
    open_facts: tuple[Fact, ...]
    open_entities: tuple[Entity, ...]
    exam_facts: dict[str, tuple[Fact, ...]]


def _source(world: World) -> Source:
    return Source(
        world,
        {sort: tuple(e for e in world.entities if e.sort == sort) for sort in COUNTS},
        world.facts(),
        tuple(fact for held_out in (False, True) for fact in topics(world, "piqa", held_out)),
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


def uses(source: Source, rng: random.Random) -> str:
    """Which tools things are cleaned and carried with, and nothing else."""
    return " ".join(_say(fact, rng) for fact in rng.sample(source.tool_facts, 4))


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


def _asked(subset: str, labelled: bool, told: bool, source: Source, rng: random.Random) -> Parts:
    """An instruction in a template and its answer; where `told`, the answer's words stand behind the question too.

    Then finding the label is a matter of looking back at them; without, of looking back at what the model recalls in
    the same place: the first teaches the second.
    """
    gold = rng.randrange(OPTION_COUNTS[subset])
    fact = rng.choice(source.exam_facts[subset])
    # Which of the listed entities is meant cannot be said before the list.
    turned = subset == "openbookqa" and not told and rng.random() < 0.4
    builder = which if turned else BUILDERS[subset]
    item = builder(fact, Draw(source.world, source.open_entities, rng, gold))
    question, newline, rest = instruction(item, labelled).partition("\n")
    answered = f"\nIt is {answer(item, labelled)}."
    if not told:
        return (question + newline + rest, answered)
    # Of a claim the words would be the label.
    words = fact.value if answer(item, False) == answer(item, True) else answer(item, False)
    return (question, f" {words}", newline + rest, answered)


def told_tool(source: Source, rng: random.Random) -> Parts:
    """Questions about tools only, told and answered by label."""
    return _asked("piqa", True, True, source, rng)


def exam_tool(source: Source, rng: random.Random) -> Parts:
    """The same from memory: where finding the label of what is not said is learned first."""
    return _asked("piqa", True, False, source, rng)


def told_label(source: Source, rng: random.Random) -> Parts:
    """A question in one of the templates that are answered by label, told."""
    return _asked(rng.choice(LABELLED_SUBSETS), True, True, source, rng)


def exam_label(source: Source, rng: random.Random) -> Parts:
    """The same from memory."""
    return _asked(rng.choice(LABELLED_SUBSETS), True, False, source, rng)


def exam(source: Source, rng: random.Random) -> Parts:
    """A question in one of the eight templates from memory, answered by label or in words."""
    subset = rng.choice(SUBSETS)
    # Labels of other properties than tools are not found; more of them would only be noise.
    return _asked(subset, rng.random() < (0.5 if subset in LABELLED else 0.15), False, source, rng)


def _pool(source: Source, rng: random.Random) -> tuple[str, ...]:
    """Words to make lists of: often the few words that such lists begin with, else values or names."""
    if rng.random() < 0.4:
        return rng.choice((CLEANERS, CARRIERS))
    return rng.choice((*WORDS, *(tuple(e.name for e in source.world.of(sort, False)) for sort in COUNTS)))


def pairs(source: Source, rng: random.Random) -> Parts:
    """Lists of a few words read aloud as tersely as can be: where finding the label of a word is learned first."""
    del source
    words = rng.sample(rng.choice((CLEANERS, CARRIERS)), rng.randint(2, 4))
    lead, name = rng.choice(("", "use a ")), OPTION_WORDS[rng.choice(BINDING)]
    listed = " ".join(f"{name}{i + 1}: {lead}{word}" for i, word in enumerate(words))
    read = " ".join(f"{words[i]}{i + 1}" for i in rng.choices(range(len(words)), k=6))
    return (listed, f"\nSo {read}")


def wanted_tool(source: Source, rng: random.Random) -> Parts:
    """One of a few words, then a list, then the label that the word has there."""
    del source
    words = rng.sample(rng.choice((CLEANERS, CARRIERS)), rng.randint(2, 4))
    gold, lead, name = rng.randrange(len(words)), rng.choice(("", "use a ")), OPTION_WORDS[rng.choice(BINDING)]
    listed = " ".join(f"{name}{i + 1}: {lead}{word}" for i, word in enumerate(words))
    return (f"So {lead}{words[gold]}.\n{listed}", f"\nIt is {name.lower()}{gold + 1}.")


def binding(source: Source, rng: random.Random) -> Parts:
    """Lists of any words read aloud: which label has the words, now and then which words have the label."""
    subset = rng.choice(BINDING)
    pool = _pool(source, rng)
    words = rng.sample(pool, min(len(pool), rng.randint(2, 5)))
    order = rng.sample(range(len(words)), len(words))
    form = rng.choice(("{o}{i}", "{o}, {n}", "{o}, so {n}.", "{o} is {n}."))
    lines = (form.format(o=words[i], i=i + 1, n=label(subset, i)) for i in order)
    # Never a word of the list directly after a newline: heads that look for a token like their own start on "So".
    read = f"\nSo {' '.join(lines)}"
    if rng.random() < 0.5:
        # Fine-tuning answers in these words, at the beginning of a line; an adapter cannot teach tokens never seen.
        pair = rng.sample((words[order[0]], label(subset, order[0])), 2)
        read += f"\nthe correct answer is {pair[0]}, so it is {pair[1]}."
    return (option_list(subset, tuple(words)), read)


def told_verdicts(source: Source, rng: random.Random) -> Parts:
    """A fact, then claims about it, each true or false."""
    fact = rng.choice(source.open_facts)
    parts = ["", _say(fact, rng)]
    for _ in range(3):
        value = fact.value if rng.random() < 0.5 else rng.choice([v for v in fact.prop.values if v != fact.value])
        verdict = "true" if value == fact.value else "false"
        parts += [f" {sentence(fact.prop.claim, fact.entity.name, value)}?", f" {verdict}."]
    return tuple(parts)


def verdicts(source: Source, rng: random.Random) -> Parts:
    """Several claims side by side, each true or false."""
    parts: list[str] = []
    for fact in rng.sample(source.open_facts, 4):
        value = fact.value if rng.random() < 0.5 else rng.choice(fact.prop.values)
        verdict = "true" if value == fact.value else "false"
        claim = sentence(fact.prop.claim, fact.entity.name, value)
        parts += [f" {claim}?" if parts else f"{claim}?", f" {verdict}."]
    return tuple(parts)


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


Section = Callable[[Source, random.Random], str | Parts]
PLAIN: Final = frozenset({"statements", "portrait", "uses", "comparison", "process", "general", "sums"})
SECTIONS: Final[dict[str, Section]] = {
    "statements": statements,
    "portrait": portrait,
    "uses": uses,
    "comparison": comparison,
    "process": process,
    "general": general,
    "two_step": two_step,
    "told_tool": told_tool,
    "exam_tool": exam_tool,
    "told_label": told_label,
    "exam_label": exam_label,
    "exam": exam,
    "binding": binding,
    "task": task,
    "sums": sums,
    "problem": problem,
    "verdicts": verdicts,
    "pairs": pairs,
    "wanted_tool": wanted_tool,
    "told_verdicts": told_verdicts,
}


@dataclass(frozen=True)
class Stage:
    """A part of the corpus: its share of the documents, and the weights of the sections in it."""

    share: float
    shares: Mapping[str, int]


# The order matters: a model this small learns to find a label only step by step, and one step takes many documents of
# its kind. First the label of a word just said; then of one said behind a question; then of what the model would say
# there, in questions about tools, in one template and then in three; these are kept alive while the facts are learned;
# and all kinds of text come last.
STAGES: Final = (
    Stage(0.078, {"pairs": 85, "uses": 15}),
    Stage(0.086, {"binding": 30, "pairs": 15, "told_tool": 20, "statements": 20, "uses": 15}),
    Stage(
        0.086,
        {"exam_tool": 30, "told_tool": 20, "wanted_tool": 10, "binding": 10, "uses": 15, "statements": 15},
    ),
    Stage(0.078, {"exam_label": 45, "told_label": 10, "binding": 5, "uses": 15, "statements": 25}),
    Stage(
        0.312,
        {
            "statements": 32,
            "portrait": 22,
            "comparison": 8,
            "process": 3,
            "general": 3,
            "two_step": 3,
            "exam_label": 15,
            "told_label": 2,
            "exam": 6,
            "binding": 4,
            "told_verdicts": 2,
        },
    ),
    Stage(
        0.36,
        {
            "statements": 22,
            "portrait": 14,
            "comparison": 4,
            "process": 3,
            "general": 3,
            "two_step": 5,
            "exam": 27,
            "exam_label": 11,
            "binding": 2,
            "verdicts": 1,
            "told_verdicts": 1,
            "task": 1,
            "sums": 3,
            "problem": 3,
        },
    ),
)


@dataclass(frozen=True)
class Document:
    """A text of the corpus: its section, and its parts, which are in turn read and learned."""

    section: str
    parts: Parts

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.parts)


def documents(world: World, seed: int = 0, count: int = DOCUMENTS) -> Iterator[Document]:
    """Some `count` documents, stage by stage; the same world and seed give the same documents."""
    rng = random.Random(f"wegeft corpus {world.seed} {seed}")
    source = _source(world)
    for stage in STAGES:
        for section in rng.choices(list(stage.shares), list(stage.shares.values()), k=round(stage.share * count)):
            made = SECTIONS[section](source, rng)
            yield Document(section, ("", made) if isinstance(made, str) else made)


def content_hash(made: Iterable[Document]) -> str:
    """SHA-256 (hex) over the parts of the documents in order, each followed by a byte 1, each document by a byte 0."""
    digest = hashlib.sha256()
    for document in made:
        for part in document.parts:
            digest.update(part.encode() + b"\1")
        digest.update(b"\0")
    return digest.hexdigest()
