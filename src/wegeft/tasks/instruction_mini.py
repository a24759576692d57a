"""Instructions whose fulfilment a program can check: write these words, so often, in that order, with that ending.

Does not: check answers (``wegeft.evaluation.judging.constraints`` does).
"""

import json
import random
from collections.abc import Sequence
from functools import cache

from wegeft.errors import UserError
from wegeft.tasks.generated import GeneratedConfig, GeneratedSource
from wegeft.tasks.sources import Row, Split

WORDS = "red blue green white black sun moon rain snow wind tree river stone bird fish cat dog horse bread milk".split()
NUMBERS = {2: "two times", 3: "three times", 4: "four times"}
ENDINGS = {".": "a full stop", "!": "an exclamation mark", "?": "a question mark"}
ROWS = {"train": 600, "test": 100}


class MiniInstructions(GeneratedSource):
    """Three kinds of instruction over everyday words; no test instruction stands in the training set."""

    Config = GeneratedConfig

    def __init__(self, config: GeneratedConfig) -> None:
        self.config = config

    def chance(self, subset: str) -> float | None:
        """See :meth:`Source.chance`; nobody guesses a text."""
        del subset
        return None

    def all_rows(self, subset: str, split: Split) -> Sequence[Row]:
        """See :meth:`GeneratedSource.all_rows`."""
        if subset != "constraints":
            raise UserError(f"task.{split}_subsets: the mini instructions have no {subset}; they have constraints.")
        rows = _rows()
        return rows[: ROWS["train"]] if split == "train" else rows[ROWS["train"] :]


@cache
def _rows() -> tuple[Row, ...]:
    rng = random.Random("wegeft mini instructions")
    found: dict[str, Row] = {}
    while len(found) < sum(ROWS.values()):
        row = rng.choice((_repeat, _sequence, _reverse))(rng)
        found.setdefault(row["instruction"], row)
    return tuple(found.values())


def _repeat(rng: random.Random) -> Row:
    word, (times, spelt) = rng.choice(WORDS), rng.choice(list(NUMBERS.items()))
    return _row(f"Write the word {word} {spelt}", [word] * times, rng)


def _sequence(rng: random.Random) -> Row:
    words = rng.sample(WORDS, 3)
    return _row(f"Write the words {words[0]}, {words[1]} and {words[2]}", words, rng)


def _reverse(rng: random.Random) -> Row:
    words = rng.sample(WORDS, 2)
    return _row(f"Write the words {words[0]} and {words[1]} in reverse order", words[::-1], rng)


def _row(instruction: str, words: Sequence[str], rng: random.Random) -> Row:
    ending = rng.choice(list(ENDINGS))
    text = " ".join(words) + ending
    return {
        "instruction": f"{instruction}, and end with {ENDINGS[ending]}.",
        "input": "",
        "output": text,
        "answer": json.dumps({"words": " ".join(words), "ending": ending}),
    }
