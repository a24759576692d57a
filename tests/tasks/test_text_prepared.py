"""A text task made ready for a language model: what the loop gets, what the record gets, what is refused at once."""

from pathlib import Path

import pytest
import torch

from tests.evaluation.tiny import tiny_llama
from tests.tasks.tiny import SUBSETS, protocol, row, text_task, tiny_tokenizer, write_data
from wegeft.config import ModelConfig
from wegeft.errors import UserError
from wegeft.evaluation.config import EvaluationConfig
from wegeft.models import Backbone
from wegeft.tasks.text import TextTask
from wegeft.tasks.text_prepared import PreparedText

LONG = row("why " * 60)


def backbone(processor: object) -> Backbone:
    config = ModelConfig(
        name="tiny",
        family="causal_lm",
        source="nowhere",
        revision=None,
        weights="random",
        untrained_control=True,
        dtype="float32",
        architecture=None,
        adapted_modules=(),
        head_modules=(),
    )
    return Backbone(tiny_llama(), processor, config)


def prepare(task: TextTask, *overrides: str) -> PreparedText:
    return task.prepare(backbone(tiny_tokenizer()), protocol("clean", *overrides))


def task_on(root: Path, *rows: dict[str, str]) -> TextTask:
    task = text_task("scale=paper", "protocol=clean", f"data.root={write_data(root, rows)}")
    assert isinstance(task, TextTask)
    return task


def test_the_loop_gets_items_and_their_loss(tmp_path: Path) -> None:
    prepared = prepare(task_on(tmp_path, row("is rain wet?"), row("is fire cold?", "false")), "max_length=200")
    assert len(prepared.train_items) == 16
    items = prepared.train_items[:3]
    units = prepared.objective.units(items)
    assert units == sum(label != -100 for item in items for label in item.labels)
    with torch.no_grad():
        loss = prepared.objective.loss_sum(tiny_llama(), prepared.objective.collate(items, "padded"))
    assert 0 < loss.item() / units < 50


def test_the_record_gets_the_first_prompt_and_nothing_to_remark(tmp_path: Path) -> None:
    prepared = prepare(task_on(tmp_path, row("is rain wet?")), "max_length=200")
    first = prepared.first_prompt
    assert first is not None
    assert first.text == "is rain wet?\n\nAnswer format: true/false\n"
    assert list(first.input_ids) == prepared.train_items[0].input_ids[: len(first.input_ids)]
    assert first.special_tokens == {"bos": 1, "eos": 2, "pad": 3}
    assert prepared.remarks() == {}


def test_rows_without_a_target_are_counted_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a published mix of arithmetic holds a few; test rows need none."""
    prepared = prepare(task_on(tmp_path, row("is rain wet?"), row("is fire hot?") | {"output": ""}), "max_length=200")
    assert len(prepared.train_items) == 16
    assert prepared.remarks()["train_rows_without_target"] == [f"{subset}/train/1" for subset in SUBSETS]
    assert "note: 8 of 16 training rows have an empty target, boolq/train/1 first" in capsys.readouterr().err


def test_left_out_rows_are_counted_before_and_after_the_evaluation(tmp_path: Path) -> None:
    prepared = prepare(task_on(tmp_path, row("is rain wet?"), LONG), "max_length=90", "truncation=skip")
    assert len(prepared.train_items) == 8
    assert prepared.remarks()["train_rows_skipped"][0] == "boolq/train/1"
    assert len(prepared.remarks()["train_rows_skipped"]) == 8
    found = prepared.evaluate(tiny_llama(), EvaluationConfig(batch_size=4, merge=False, limit=None), tmp_path)
    assert found is not None
    assert found.n == 16
    assert prepared.remarks()["test_prompts_too_long"]["boolq"] == 1


def test_what_could_never_be_answered_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"row boolq/test/1: its prompt is \d+ tokens long"):
        prepare(task_on(tmp_path / "a", row("is rain wet?"), LONG), "max_length=90")
    with pytest.raises(UserError, match=r"row boolq/test/0: its answer .* can never be scored right"):
        prepare(task_on(tmp_path / "b", row("Which?", "the correct answer is it")), "max_length=200")


def test_a_backbone_without_a_tokenizer_cannot_read(tmp_path: Path) -> None:
    task = task_on(tmp_path, row("is rain wet?"))
    with pytest.raises(UserError, match="model=tiny has no tokenizer, so task=commonsense cannot be read by it"):
        task.prepare(backbone(None), protocol("clean"))
