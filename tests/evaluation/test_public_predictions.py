"""Our rules beside a public scorer's, on real generations of LoRA-tuned models over the LLM-Adapters test sets.

The files hold raw generations (``output_pred``), the answer that the public scorer found in each (``pred``) and whether
it counted it as right (``flag``).
"""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from wegeft.evaluation.compare import is_correct
from wegeft.evaluation.extractors import (
    AfterTrigger,
    AfterTriggerConfig,
    ChoiceLetter,
    FirstLetter,
    LastNumber,
    MarkerConfig,
)

WHOLE = MarkerConfig(marker="### Response:", occurrence="first")
ARITHMETIC = {
    "LLaMA-7B-LoRA-gsm8k": (1304, 393),
    "Llama-3.2-1B-LoRA-gsm8k": (381, 18),
    "Llama-3.2-1B-LoRA-AddSub": (395, 50),
    "Llama-3.2-1B-LoRA-MultiArith": (600, 30),
    "Llama-3.2-1B-LoRA-SVAMP": (1000, 119),
    "Llama-3.2-1B-LoRA-SingleEq": (508, 103),
}
CHOICES = ("answer1", "answer2", "answer3", "answer4", "answer5")
COMMONSENSE = {
    "boolq": (("true", "false"), 3270, 489),
    "piqa": (("solution1", "solution2"), 1838, 350),
    "social_i_qa": (CHOICES, 1954, 314),
    "ARC-Easy": (CHOICES, 2376, 242),
    "ARC-Challenge": (CHOICES, 1172, 128),
    "openbookqa": (CHOICES, 500, 73),
}


def predictions(real_data: Path, name: str) -> list[dict[str, Any]]:
    path = real_data / "eval_fixtures" / "llm_adapters_predictions" / f"{name}.json.gz"
    with gzip.open(path, "rt") as file:
        rows: list[dict[str, Any]] = json.load(file)
    return rows


@pytest.mark.parametrize("name", ARITHMETIC)
def test_the_number_rule_agrees_with_the_public_scorer_everywhere(real_data: Path, name: str) -> None:
    rows = predictions(real_data, name)
    ours = [is_correct("number", LastNumber(WHOLE).extract(row["output_pred"]), row["answer"]) for row in rows]
    assert ours == [bool(row["flag"]) for row in rows]
    assert (len(ours), sum(ours)) == ARITHMETIC[name]


def test_the_official_letter_rule_agrees_and_the_strict_one_finds_no_answer_there(real_data: Path) -> None:
    """The model repeated the questions: the first capital is mostly the "(A)" of the choices, and no text answers.

    The official rule scores 54 of 254, which is chance; the strict rule finds one answer, and it is wrong.
    """
    rows = predictions(real_data, "Llama-3.2-1B-LoRA-AQuA")
    official = [FirstLetter(WHOLE).extract(row["output_pred"]) for row in rows]
    strict = [ChoiceLetter(WHOLE).extract(row["output_pred"]) for row in rows]
    assert [letter == row["answer"] for letter, row in zip(official, rows, strict=True)] == [r["flag"] for r in rows]
    assert sum(row["flag"] for row in rows) == 54
    answered = [(letter, row["answer"]) for letter, row in zip(strict, rows, strict=True) if letter is not None]
    assert answered == [("B", "A")]


@pytest.mark.parametrize("subset", COMMONSENSE)
def test_the_commonsense_rule_differs_from_the_public_scorer_in_every_answer_it_counted(
    real_data: Path, subset: str
) -> None:
    """These models were never trained to say "the correct answer is ...", so by WeGeFT's rule none of them answers.

    The public scorer takes the first of the labels *in the order of the labels*, anywhere in the text, ignoring case
    and blanks: a model that repeats "Answer1: ... Answer2: ..." has chosen answer1. That it does just this, is checked
    on every row; so the whole difference is the rule, and none of it is a slip of ours.
    """
    labels, n, flagged = COMMONSENSE[subset]
    rows = predictions(real_data, f"Llama-3.2-1B-LoRA-{subset}")
    for row in rows:
        squeezed = row["output_pred"].lower().replace(" ", "")
        assert row["pred"] == next((label for label in labels if label in squeezed), "")
        assert bool(row["flag"]) is (row["pred"] == row["answer"])
    assert (len(rows), sum(row["flag"] for row in rows)) == (n, flagged)

    config = {"trigger": "the correct answer is", "trigger_space": False}
    for occurrence in ("last", "first"):
        rule = AfterTrigger(AfterTriggerConfig.model_validate(config | {"occurrence": occurrence}))
        found = [rule.extract(row["output_pred"]) for row in rows]
        assert not any(is_correct("exact", text, row["answer"]) for text, row in zip(found, rows, strict=True))
        assert sum(text is not None for text in found) == (2 if subset == "ARC-Challenge" else 0)
