"""Rows from files: every row or an error that names file and row, never fewer rows in silence."""

import json
from pathlib import Path

import pytest

from tests.tasks.tiny import SUBSETS, row, text_task, write_data
from wegeft.errors import UserError
from wegeft.tasks.sources import draw, read_rows
from wegeft.tasks.text import TextTask

ROWS = [row("is rain wet?"), row("is fire cold?", "false"), row("do fish swim?")]


def commonsense(root: Path, *overrides: str) -> TextTask:
    """The commonsense task on the files below `root`."""
    return text_task("scale=paper", f"data.root={root}", *overrides)


def test_all_rows_of_all_sets_come_in_file_order(tmp_path: Path) -> None:
    task = commonsense(write_data(tmp_path, ROWS))
    train = task.train_examples()
    assert [example.uid for example in train] == [f"{s}/train/{n}" for s in SUBSETS for n in range(3)]
    assert [example.gold for example in train[:3]] == ["true", "false", "true"]
    assert list(task.test_examples()) == list(SUBSETS)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("[]", "holds no rows"),
        ("", "is not valid JSON at line 1"),
        ('[{"instruction": "a",\n "input": ""', "is not valid JSON at line 2"),
        ('{"instruction": "a"}', "holds a dict, not an array"),
        ('["a"]', "row 0 is a str"),
        (
            json.dumps([ROWS[0], {k: v for k, v in ROWS[1].items() if k != "answer"}]),
            "row 1 has no text field `answer`",
        ),
        (json.dumps([ROWS[0] | {"output": 3}]), "row 0 has no text field `output`"),
        (json.dumps([ROWS[0] | {"answer": "  "}]), "row 0 has an empty `answer`"),
        (json.dumps([ROWS[0], ROWS[1] | {"instruction": " \n"}]), "row 1 has an empty `instruction`"),
    ],
)
def test_a_broken_file_is_named_with_its_row(tmp_path: Path, content: str, sentence: str) -> None:
    path = write_data(tmp_path, ROWS) / "dataset" / "piqa" / "test.json"
    path.write_text(content)
    with pytest.raises(UserError) as refused:
        commonsense(tmp_path).test_examples()
    assert str(path) in str(refused.value)
    assert sentence in str(refused.value)


def test_a_broken_line_of_a_jsonl_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROWS[0]) + "\n{broken\n")
    with pytest.raises(UserError, match=r"rows\.jsonl, row 1 is not valid JSON"):
        read_rows(path)


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_bytes(b"[\n\xff\xfe")
    with pytest.raises(UserError, match=r"rows\.json is not UTF-8 text at line 2"):
        read_rows(path)


def test_missing_files_are_noticed_before_anything_is_read(tmp_path: Path) -> None:
    task = commonsense(write_data(tmp_path, ROWS))
    task.check_data()
    (tmp_path / "dataset" / "winogrande" / "train.json").unlink()
    with pytest.raises(UserError, match=r"winogrande/train\.json does not exist; check data\.root"):
        task.check_data()


def test_a_set_that_is_not_published_is_named_with_those_that_are(tmp_path: Path) -> None:
    task = commonsense(write_data(tmp_path, ROWS), "task.test_subsets=[boolq,opnbookqa]")
    with pytest.raises(UserError, match=r"data\.root, or task\.test_subsets: opnbookqa is none of boolq, .*mean openb"):
        task.check_data()


def test_no_data_root_names_the_key_and_the_way_to_get_data() -> None:
    with pytest.raises(UserError, match=r"data\.root is not set: .*fetch_data\.py commonsense"):
        text_task("scale=paper").check_data()


def test_a_row_with_an_input_is_refused_where_no_template_takes_it(tmp_path: Path) -> None:
    task = commonsense(write_data(tmp_path, [ROWS[0] | {"input": "a passage"}]))
    with pytest.raises(UserError, match=r"row boolq/train/0 has an `input`"):
        task.train_examples()


def test_a_drawn_sample_keeps_file_order_and_row_numbers(tmp_path: Path) -> None:
    rows = [row(f"question {number}?") for number in range(20)]
    root = write_data(tmp_path, rows)
    uids = [e.uid for e in commonsense(root, "task.sources.paper.test_rows=5").test_examples()["boolq"]]
    numbers = [int(uid.rpartition("/")[2]) for uid in uids]
    assert len(numbers) == 5
    assert numbers == sorted(numbers)
    again = commonsense(root, "task.sources.paper.test_rows=5").test_examples()["boolq"]
    assert [e.prompt for e in again] == [rows[number]["instruction"] + "\n" for number in numbers]
    other = commonsense(root, "task.sources.paper.test_rows=5", "task.sources.paper.sample_seed=1").test_examples()
    assert [e.uid for e in other["boolq"]] != uids


def test_drawing_takes_each_row_at_most_once() -> None:
    assert list(draw(3, 7, seed=0)) == [0, 1, 2]
    assert len(set(draw(50, 49, seed=0))) == 49


def test_the_content_hash_sees_the_rows_and_not_the_formatting(tmp_path: Path) -> None:
    write_data(tmp_path / "a", ROWS)
    write_data(tmp_path / "b", ROWS)
    write_data(tmp_path / "c", [*ROWS[:2], row("do fish swim?", "false")])
    path = tmp_path / "b" / "dataset" / "boolq" / "train.json"
    path.write_text(json.dumps(ROWS, indent=4))
    hashes = [commonsense(tmp_path / name).content_hashes()["boolq/train"] for name in "abc"]
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_summary_shows_how_far_the_data_is_from_the_published_set(tmp_path: Path) -> None:
    summary = commonsense(write_data(tmp_path, ROWS)).data_summary()
    assert summary["hellaswag/train"].rows == 3
    assert summary["hellaswag/train"].expected == 39905


def test_another_number_of_rows_is_refused_where_the_config_says_so(tmp_path: Path) -> None:
    task = commonsense(write_data(tmp_path, ROWS), "task.sources.paper.require_expected=true")
    with pytest.raises(UserError, match=r"boolq/train\.json has 3 rows and the published file has 9427"):
        task.train_examples()


def test_the_plan_knows_the_published_size_without_data() -> None:
    assert text_task("scale=paper").expected_train_examples() == 170_420
    assert text_task("scale=small").expected_train_examples() == 7 * 2000 + 1119


def test_the_mini_world_needs_no_data(tmp_path: Path) -> None:
    task = text_task("task.sources.mini.train_rows=4", f"data.root={tmp_path}")
    task.check_data()
    assert len(task.train_examples()) == task.expected_train_examples() == 4 * len(SUBSETS)
    assert task.chance() == pytest.approx(
        {"boolq": 1 / 2, "piqa": 1 / 2, "social_i_qa": 1 / 3, "hellaswag": 1 / 4, "winogrande": 1 / 2}
        | {"ARC-Easy": 1 / 4, "ARC-Challenge": 1 / 4, "openbookqa": 1 / 4}
    )


def test_the_mini_world_names_its_subsets_when_asked_for_another() -> None:
    with pytest.raises(UserError, match=r"has no squad; it has boolq, piqa"):
        text_task("task.test_subsets=[squad]").check_data()


@pytest.mark.parametrize("key", ["train_file", "test_file"])
def test_a_path_out_of_the_data_root_is_refused(key: str) -> None:
    with pytest.raises(UserError, match=r"must be a path below data\.root"):
        text_task("scale=paper", f"task.sources.paper.{key}=../secret.json")
