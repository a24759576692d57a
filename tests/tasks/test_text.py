"""Rendering: the prompts are those of the published data, to the byte."""

import json
import re
from pathlib import Path

import pytest

from tests.tasks.tiny import SUBSETS, row, text_task, write_data
from wegeft.errors import UserError

CHOICE = r"Please choose the correct answer to the question: .*\n\nAnswer1: .*\n\nAnswer format: answer1(/answer\d)+\n"
TEMPLATES = {
    "boolq": r"Please answer the following question with true or false, question: .*\?\n\nAnswer format: true/false\n",
    "piqa": (
        r"Please choose the correct solution to the question: .*\n\nSolution1: .*\n\nSolution2: .*\n\n"
        r"Answer format: solution1/solution2\n"
    ),
    "social_i_qa": (
        r"Please choose the correct answer to the question: .*\n\nAnswer1: .* Answer2: .* Answer3: .*\n\n"
        r"Answer format: answer1/answer2/answer3\n"
    ),
    "hellaswag": (
        r"Please choose the correct ending to complete the given sentence: .*\n\n"
        r"Ending1: .* Ending2: .* Ending3: .* Ending4: .*\n\nAnswer format: ending1/ending2/ending3/ending4\n"
    ),
    "winogrande": (
        r"Please choose the correct answer to fill in the blank to complete the given sentence: .*\n\n"
        r"Option1: .* Option2: .* Answer format: option1/option2\n"
    ),
    "ARC-Easy": CHOICE,
    "ARC-Challenge": CHOICE,
    "openbookqa": CHOICE,
}
LABELS = {
    "boolq": "true|false",
    "piqa": "solution[12]",
    "social_i_qa": "answer[123]",
    "hellaswag": "ending[1234]",
    "winogrande": "option[12]",
    "ARC-Easy": "answer[1-5]",  # one test item has a fifth answer
    "ARC-Challenge": "answer[1-4]",
    "openbookqa": "answer[1-4]",
}
TEST_ROWS = {
    "boolq": 3270,
    "piqa": 1838,
    "social_i_qa": 1954,
    "hellaswag": 10042,
    "winogrande": 1267,
    "ARC-Easy": 2376,
    "ARC-Challenge": 1172,
    "openbookqa": 500,
}


@pytest.mark.parametrize("subset", SUBSETS)
def test_every_real_test_row_is_rendered_as_published(real_data: Path, subset: str) -> None:
    root = real_data / "llm_adapters"
    task = text_task("scale=paper", f"data.root={root}", f"task.test_subsets=[{subset}]")
    examples = task.test_examples()[subset]
    rows = json.loads((root / "dataset" / subset / "test.json").read_text())
    assert len(examples) == len(rows) == TEST_ROWS[subset]
    for example, real in zip(examples, rows, strict=True):
        assert example.prompt == real["instruction"] + "\n"
        assert example.target == real["output"] == f"the correct answer is {real['answer']}"
        assert re.fullmatch(TEMPLATES[subset], example.prompt, re.DOTALL)
        assert re.fullmatch(LABELS[subset], example.gold)


def test_the_plan_matches_the_published_test_sizes(real_data: Path) -> None:
    summary = text_task("scale=paper", f"data.root={real_data / 'llm_adapters'}").data_summary()
    tests = {key: part for key, part in summary.items() if key.endswith("/test")}
    assert {key: part.rows for key, part in tests.items()} == {key: part.expected for key, part in tests.items()}


@pytest.mark.parametrize("subset", SUBSETS)
def test_the_mini_world_renders_like_the_real_sets(subset: str) -> None:
    """The templates are the real ones up to the answer format, which names the options' words in most sets."""
    opening = TEMPLATES[subset].partition("Answer format")[0]
    for example in text_task(f"task.test_subsets=[{subset}]").test_examples()[subset]:
        assert re.match(opening, example.prompt, re.DOTALL)
        assert example.prompt.endswith("\n")
        assert example.target == f"the correct answer is {example.gold}"


def test_a_template_over_an_unknown_field_names_the_fields() -> None:
    with pytest.raises(UserError, match=r"the template uses \['question'\]; a row has instruction, input, output"):
        text_task("task.prompt='{question}'")


def test_a_subset_without_a_scoring_rule_is_refused() -> None:
    with pytest.raises(UserError, match=r"task\.scoring has no entry for boolq"):
        text_task("~task.scoring.default")


def test_an_unknown_comparison_names_the_choices() -> None:
    with pytest.raises(UserError, match="'exact', 'number', 'leading_integer', 'math'"):
        text_task("task.scoring.default.compare=fuzzy")


@pytest.mark.parametrize("subset", SUBSETS)
def test_every_real_question_lists_its_answer(real_data: Path, subset: str) -> None:
    root = real_data / "llm_adapters"
    task = text_task("scale=paper", f"data.root={root}", f"task.test_subsets=[{subset}]", "task.listed_answers=true")
    examples = task.test_examples()[subset]
    counts = [len(example.listed) for example in examples]
    assert task.chance() is not None
    assert sum(1 / count for count in counts) / len(counts) == pytest.approx((task.chance() or {})[subset], abs=0.001)
    assert all(example.target in example.listed for example in examples)


@pytest.mark.parametrize("subset", SUBSETS)
def test_every_question_of_the_mini_world_lists_its_answer(subset: str) -> None:
    task = text_task(f"task.test_subsets=[{subset}]", f"task.train_subsets=[{subset}]")
    for example in task.test_examples()[subset]:
        assert example.target in example.listed
        assert len(set(example.listed)) == len(example.listed) == round(1 / (task.chance() or {})[subset])
    assert {example.listed for example in task.train_examples()} == {()}  # nobody asks for them


def test_a_question_that_does_not_list_its_answer_is_named(tmp_path: Path) -> None:
    wanted = ("scale=paper", "task.listed_answers=true", "task.test_subsets=[boolq]")
    root = write_data(tmp_path / "other", [row("is rain wet?", "yes")])
    with pytest.raises(UserError, match=r"row boolq/test/0: its answer 'yes' is not one .* lists \(true, false\)"):
        text_task(*wanted, f"data.root={root}").test_examples()
    root = write_data(tmp_path / "none", [row("is rain wet?") | {"instruction": "is rain wet?"}])
    with pytest.raises(UserError, match=r"lists \(none\); set task\.listed_answers=false"):
        text_task(*wanted, f"data.root={root}").test_examples()


def test_a_way_of_decoding_cannot_ask_for_lists_that_no_question_carries() -> None:
    with pytest.raises(UserError, match=r"task\.decodings\.greedy\.listed is set by task\.listed_answers=true alone"):
        text_task("task.listed_answers=false", "+task.decodings={greedy:{listed:true}}")


def test_the_name_of_the_added_way_of_decoding_is_taken() -> None:
    with pytest.raises(UserError, match=r"task\.decodings\.listed is what task\.listed_answers=true adds"):
        text_task("+task.decodings={listed:{}}")
