"""The arithmetic problems: right sums, the math10k schema, and test problems that nothing else asks."""

import re

import pytest

from wegeft.tasks.mini_world import MiniWorldSource
from wegeft.tasks.mini_world.arithmetic import ROWS, SUBSETS

EQUATION = re.compile(r"(\d+) ([-+*]) (\d+) = (\d+)")
NUMBER = re.compile(r"\d+")


@pytest.fixture(scope="module")
def source() -> MiniWorldSource:
    return MiniWorldSource("arithmetic")


@pytest.mark.parametrize("subset", SUBSETS)
def test_every_step_of_every_rationale_is_right(source: MiniWorldSource, subset: str) -> None:
    for split in ROWS:
        for row in source.rows(subset, split):
            steps = EQUATION.findall(row["output"])
            assert len(steps) == (2 if subset == "two_step" else 1)
            for a, sign, b, result in steps:
                expected = {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}[sign]
                assert int(result) == expected
            assert row["output"].endswith(f" The answer is {steps[-1][3]}.")
            assert row["answer"] == f"{steps[-1][3]}.0"
            assert row["input"] == ""


@pytest.mark.parametrize("subset", SUBSETS)
def test_no_test_problem_has_the_numbers_of_a_training_problem(source: MiniWorldSource, subset: str) -> None:
    train, test = ({tuple(NUMBER.findall(row["instruction"])) for row in source.rows(subset, split)} for split in ROWS)
    assert train
    assert test
    assert not train & test


@pytest.mark.parametrize("subset", SUBSETS)
def test_sizes(source: MiniWorldSource, subset: str) -> None:
    for split, count in ROWS.items():
        assert len({row["instruction"] for row in source.rows(subset, split)}) == count
