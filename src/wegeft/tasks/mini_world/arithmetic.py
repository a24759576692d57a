"""Arithmetic word problems with worked rationales, in the schema of math10k.

Numbers are small (results from 0 to 99) because the mini backbone reads digits one by one. A problem whose
numbers fall in the test residue is a test problem: no fine-tuning row and no pretraining document asks it.
Does not read files and does not import torch.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from wegeft.tasks.mini_world.commonsense import Row, Split
from wegeft.tasks.mini_world.world import World

SUBSETS: Final = ("add_sub", "multiply", "two_step", "compare")
ROWS: Final[dict[Split, int]] = {"train": 600, "test": 100}
OBJECTS: Final = ("apples", "eggs", "books", "shells", "cards", "stones", "pens", "cups")
# One problem in this many is a test problem.
_TEST_RESIDUE: Final = 7


@dataclass(frozen=True)
class Problem:
    """A word problem.

    The story with its question, the worked steps, the result, and the numbers that decide its split.
    """

    text: str
    work: str
    result: int
    numbers: tuple[int, ...]

    @property
    def held_out(self) -> bool:
        """Whether the numbers make it a test problem."""
        return sum(n * w for n, w in zip(self.numbers, (3, 5, 11), strict=False)) % _TEST_RESIDUE == 0


@dataclass(frozen=True)
class Scene:
    """Who does it and with what."""

    name: str
    friend: str
    objects: str


def add_sub(scene: Scene, rng: random.Random) -> Problem:
    """One addition or subtraction below 100."""
    a, b = rng.randint(5, 60), rng.randint(2, 39)
    if rng.random() < 0.5:
        text = f"{scene.name} has {a} {scene.objects} and buys {b} more. How many {scene.objects} are there now?"
        return Problem(text, f"We add. {a} + {b} = {a + b}.", a + b, (a, b))
    a, b = max(a, b), min(a, b)
    text = f"{scene.name} has {a} {scene.objects} and gives {b} to {scene.friend}. How many {scene.objects} are left?"
    return Problem(text, f"We take away. {a} - {b} = {a - b}.", a - b, (a, b))


def multiply(scene: Scene, rng: random.Random) -> Problem:
    """One product of two digits."""
    a, b = rng.randint(2, 9), rng.randint(2, 9)
    text = f"{scene.name} has {a} boxes with {b} {scene.objects} each. How many {scene.objects} are there in all?"
    return Problem(text, f"We multiply. {a} * {b} = {a * b}.", a * b, (a, b))


def two_step(scene: Scene, rng: random.Random) -> Problem:
    """A product and then a sum or a difference."""
    a, b, c = rng.randint(2, 9), rng.randint(2, 9), rng.randint(2, 9)
    start = f"{scene.name} has {a} boxes with {b} {scene.objects} each"
    product = f"First we multiply. {a} * {b} = {a * b}."
    if rng.random() < 0.5 or c > a * b:
        text = f"{start} and buys {c} more. How many {scene.objects} are there now?"
        return Problem(text, f"{product} Then we add. {a * b} + {c} = {a * b + c}.", a * b + c, (a, b, c))
    text = f"{start} and gives {c} to {scene.friend}. How many {scene.objects} are left?"
    return Problem(text, f"{product} Then we take away. {a * b} - {c} = {a * b - c}.", a * b - c, (a, b, c))


def compare(scene: Scene, rng: random.Random) -> Problem:
    """How many more one has than the other."""
    low, high = sorted(rng.sample(range(2, 60), 2))
    text = (
        f"{scene.name} has {high} {scene.objects} and {scene.friend} has {low} {scene.objects}. "
        f"How many more {scene.objects} does {scene.name} have?"
    )
    return Problem(text, f"We take away. {high} - {low} = {high - low}.", high - low, (high, low))


GENERATORS: Final[dict[str, Callable[[Scene, random.Random], Problem]]] = {
    "add_sub": add_sub,
    "multiply": multiply,
    "two_step": two_step,
    "compare": compare,
}


def draw(world: World, subset: str, held_out: bool, rng: random.Random) -> Problem:
    """A random problem of one kind and split.

    People of the stories are those that the commonsense tests do not ask about.
    """
    people = [e.name for e in world.of("person", held_out=False)]
    while True:
        name, friend = rng.sample(people, 2)
        problem = GENERATORS[subset](Scene(name, friend, rng.choice(OBJECTS)), rng)
        if problem.held_out == held_out:
            return problem


def rows(world: World, subset: str, split: Split) -> list[Row]:
    """Distinct problems of one kind as math10k rows.

    `answer` is a number with one decimal, as in the real file.
    """
    rng = random.Random(f"wegeft arithmetic {world.seed} {subset} {split}")
    found: dict[str, Row] = {}
    while len(found) < ROWS[split]:
        problem = draw(world, subset, split == "test", rng)
        output = f"{problem.work} The answer is {problem.result}."
        found[problem.text] = {
            "instruction": problem.text,
            "input": "",
            "output": output,
            "answer": f"{float(problem.result):.1f}",
        }
    return list(found.values())
