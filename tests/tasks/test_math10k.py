"""Arithmetic: the published sets, their sizes, the Alpaca prompt, and what is known to leak."""

import json
from pathlib import Path

import pytest

from tests.evaluation.tiny import tiny_encoder, tiny_llama
from tests.tasks.tiny import text_task
from wegeft.errors import UserError
from wegeft.evaluation.checks import check_gold
from wegeft.evaluation.config import EvaluationConfig
from wegeft.evaluation.evaluate import evaluate_text
from wegeft.tasks.text import TextTask

SIZES = {"AQuA": 254, "gsm8k": 1319, "mawps": 238, "SVAMP": 1000, "AddSub": 395, "MultiArith": 600, "SingleEq": 508}
LEAKED = ("AddSub", "MultiArith", "SingleEq")
HEADER = "Below is an instruction that describes a task. Write a response that appropriately completes the request."


def paper_task(root: Path, *overrides: str) -> TextTask:
    return text_task("task=math10k", "scale=paper", f"data.root={root}", *overrides)


def write_training_set(root: Path, rows: int) -> Path:
    """A training file of `rows` rows."""
    folder = root / "ft-training_set"
    folder.mkdir(parents=True)
    row = {"instruction": "What is 1 + 1?", "input": "", "output": "1 + 1 = 2. The answer is 2.", "answer": "2.0"}
    (folder / "math_10k.json").write_text(json.dumps([row] * rows))
    return root


def test_every_real_test_row_is_rendered_and_can_be_scored_right(real_data: Path) -> None:
    root = real_data / "llm_adapters"
    task = paper_task(root)
    sets = task.test_examples()
    assert {subset: len(examples) for subset, examples in sets.items()} == SIZES
    check_gold(task, sets)
    for subset, examples in sets.items():
        rows = json.loads((root / "dataset" / subset / "test.json").read_text())
        for example, row in zip(examples, rows, strict=True):
            prompt = f"{HEADER}\n\n### Instruction:\n{row['instruction']}\n\n### Response:\n"
            assert example.prompt == prompt
            assert example.gold == row["answer"]
    assert {example.gold for example in sets["AQuA"]} <= set("ABCDE")


def test_leaked_sets_are_named() -> None:
    assert text_task("task=math10k", "scale=paper").config.leaked_subsets == LEAKED


def test_the_published_training_set_has_9919_rows(tmp_path: Path) -> None:
    assert len(paper_task(write_training_set(tmp_path, 9919)).train_examples()) == 9919


def test_another_training_set_is_refused_unless_the_config_says_otherwise(tmp_path: Path) -> None:
    root = write_training_set(tmp_path, 3260)  # the size of the contaminated math_data.json
    with pytest.raises(UserError, match=r"math_10k\.json has 3260 rows and the published file has 9919"):
        paper_task(root).train_examples()
    assert len(paper_task(root, "task.sources.paper.require_expected=false").train_examples()) == 3260


def test_a_gold_answer_that_is_no_number_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "dataset" / "gsm8k"
    folder.mkdir(parents=True)
    row = {"instruction": "How many?", "input": "", "output": "", "answer": "three"}
    (folder / "test.json").write_text(json.dumps([row]))
    task = paper_task(tmp_path, "task.test_subsets=[gsm8k]", "task.sources.paper.require_expected=false")
    with pytest.raises(UserError, match=r"row gsm8k/test/0: its answer 'three' can never be scored right"):
        check_gold(task, task.test_examples())


def test_the_mini_world_has_worked_solutions_that_score_right() -> None:
    task = text_task("task=math10k")
    sets = task.test_examples()
    check_gold(task, sets)
    for subset, examples in sets.items():
        rule = task.extractors(subset)["official"]
        for example in examples:
            found = rule.extract(example.target)
            assert found is not None
            assert abs(float(found) - float(example.gold)) <= 0.001


def test_the_mini_world_goes_through_an_evaluation(tmp_path: Path) -> None:
    task = text_task("task=math10k", "task.max_new_tokens=8", "task.test_subsets=[compare]")
    encoder = tiny_encoder("clean", "max_length=240", "truncation=right")
    config = EvaluationConfig(batch_size=4, merge=False, limit=3)
    found = evaluate_text(tiny_llama(), encoder, task, config, tmp_path)
    assert found.scores["compare"].n == 3
    assert found.extractor == {"name": "LastNumber", "version": "1"}
