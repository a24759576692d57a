"""The eight commonsense subsets of the mini world, in the schema of the LLM-Adapters files.

Fine-tuning rows are about entities that are not held out, test rows only about held-out ones; no entity is in
both. Rows are dictionaries with `instruction`, `input` (empty), `output` ("the correct answer is ...") and
`answer`. Does not read files and does not import torch.
"""

import random
from typing import Final, Literal

from wegeft.tasks.mini_world.items import BUILDERS, Draw, topics
from wegeft.tasks.mini_world.templates import LABELLED, OPTION_COUNTS, SUBSETS, Item, answer, instruction
from wegeft.tasks.mini_world.world import World

Split = Literal["train", "test"]
Row = dict[str, str]

ROWS: Final[dict[Split, int]] = {"train": 500, "test": 100}


def chance(subset: str) -> float:
    """The expected accuracy of picking one of the options blindly."""
    return 1.0 / OPTION_COUNTS[subset]


def items(world: World, subset: str, split: Split) -> list[Item]:
    """Distinct questions; every fact is used before one is used again, and the gold position is balanced."""
    rng = random.Random(f"wegeft commonsense {world.seed} {subset} {split}")
    held_out, count = split == "test", ROWS[split]
    facts = list(topics(world, subset, held_out))
    pool = tuple(e for e in world.entities if e.held_out == held_out)
    rng.shuffle(facts)
    gold = [i % OPTION_COUNTS[subset] for i in range(count)]
    rng.shuffle(gold)
    found: dict[tuple[str, tuple[str, ...]], Item] = {}
    draws = 0
    while len(found) < count:
        item = BUILDERS[subset](facts[draws % len(facts)], Draw(world, pool, rng, gold[len(found)]))
        draws += 1
        found.setdefault((item.text, item.options), item)
    return list(found.values())


def row(item: Item) -> Row:
    """An item as a row of the LLM-Adapters schema."""
    labelled = item.subset in LABELLED
    right = answer(item, labelled)
    return {
        "instruction": instruction(item, labelled),
        "input": "",
        "output": f"the correct answer is {right}",
        "answer": right,
    }


def rows(world: World, subset: str, split: Split) -> list[Row]:
    """The rows of one subset and split, always the same for the same world.

    KeyError for an unknown subset.
    """
    return [row(item) for item in items(world, subset, split)]


__all__ = ["LABELLED", "ROWS", "SUBSETS", "Row", "Split", "chance", "items", "row", "rows"]
