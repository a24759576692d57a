"""Validation rows from the end of training sets."""

import json
from pathlib import Path
from typing import Any

import pytest

from wegeft.errors import UserError
from wegeft.tasks.held_out import HeldOut
from wegeft.tasks.sources import LLMAdaptersFiles


def node(root: Path, train_rows: int | None = None) -> dict[str, Any]:
    return {
        "_target_": f"{LLMAdaptersFiles.__module__}.{LLMAdaptersFiles.__name__}",
        "root": str(root),
        "train_file": "{subset}/train.json",
        "test_file": "{subset}/test.json",
        "train_rows": train_rows,
        "test_rows": None,
        "sample_seed": 0,
        "expected_rows": {"boolq/train": 9427},
        "require_expected": False,
        "chance": {"boolq": 0.5},
    }


def held_out(root: Path, share: float | None = 0.1, rows: int | None = None, train_rows: int | None = None) -> HeldOut:
    return HeldOut(HeldOut.Config(source=node(root, train_rows), share=share, rows=rows))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """25 training rows and no test file, which must not be missed."""
    rows = [{"instruction": f"q{i}", "input": "", "output": f"o{i}", "answer": f"a{i}"} for i in range(25)]
    (tmp_path / "boolq").mkdir()
    (tmp_path / "boolq" / "train.json").write_text(json.dumps(rows))
    return tmp_path


def test_the_last_rows_of_the_training_file_are_tested(root: Path) -> None:
    source = held_out(root)
    assert list(source.row_numbers("boolq", "train")) == list(range(23))
    assert list(source.row_numbers("boolq", "test")) == [23, 24]
    assert [row["answer"] for row in source.rows("boolq", "test")] == ["a23", "a24"]
    assert len(source.rows("boolq", "train")) == 23
    assert source.file_split("test") == "train"
    source.check("boolq", "test")


def test_of_drawn_rows_the_last_are_tested(root: Path) -> None:
    source = held_out(root, share=None, rows=3, train_rows=10)
    numbers = [*source.row_numbers("boolq", "train"), *source.row_numbers("boolq", "test")]
    assert numbers == sorted(set(numbers))
    assert len(source.rows("boolq", "train")) == 7
    assert [row["answer"] for row in source.rows("boolq", "test")] == [f"a{number}" for number in numbers[-3:]]


def test_the_published_split_of_boolq_is_the_official_one(root: Path) -> None:
    source = held_out(root)
    assert (source.expected("boolq", "train"), source.expected("boolq", "test")) == (8485, 942)
    assert source.expected("piqa", "test") is None
    assert source.chance("boolq") == 0.5


@pytest.mark.parametrize(("share", "rows"), [(0.01, None), (None, 25)])
def test_a_part_that_leaves_nothing_is_refused(root: Path, share: float | None, rows: int | None) -> None:
    with pytest.raises(UserError, match="of the 25 training rows of boolq"):
        held_out(root, share, rows).rows("boolq", "train")


@pytest.mark.parametrize(("share", "rows"), [(None, None), (0.1, 3)])
def test_share_and_rows_exclude_each_other(root: Path, share: float | None, rows: int | None) -> None:
    with pytest.raises(ValueError, match="one of share and rows"):
        held_out(root, share, rows)


def test_boolq_on_the_published_file(real_data: Path) -> None:
    source = held_out(real_data / "llm_adapters" / "dataset")
    assert len(source.rows("boolq", "test")) == 942
    assert source.row_numbers("boolq", "test")[0] == 8485


def test_a_held_out_row_lists_the_answers_that_it_lists(root: Path) -> None:
    row = {"instruction": "is rain wet?\n\nAnswer format: true/false", "input": "", "output": "", "answer": "true"}
    assert held_out(root).listed(row) == ("true", "false")
