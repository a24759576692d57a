"""MATH and GSM8K answers: found, and compared by value."""

import gzip
import json
from pathlib import Path

import pytest

from wegeft.evaluation.compare import is_correct
from wegeft.evaluation.math_extractors import Boxed, FirstHashInteger, LastHashNumber, MathAnswer


def test_every_published_math_500_solution_scores_right(real_data: Path) -> None:
    lines = (real_data / "math" / "test" / "MATH500.jsonl").read_text().strip().split("\n")
    rows = [json.loads(line) for line in lines]
    found = [(Boxed().extract(row["solution"]), row["answer"]) for row in rows]
    assert len(found) == 500
    assert all(is_correct("math", extracted, gold) for extracted, gold in found)


def test_every_published_gsm8k_solution_is_read_and_the_official_rule_cuts_some(real_data: Path) -> None:
    """The official rule reads its own gold answers wrongly wherever they hold a comma or a sign."""
    lines = (real_data / "math" / "test" / "gsm8k_test_original.jsonl").read_text().strip().split("\n")
    answers = [json.loads(line)["answer"] for line in lines]
    golds = [answer.rpartition("#### ")[2] for answer in answers]
    assert len(answers) == 1319
    assert all(is_correct("number", LastHashNumber().extract(a), g) for a, g in zip(answers, golds, strict=True))
    cut = [g for a, g in zip(answers, golds, strict=True) if not is_correct("number", FirstHashInteger().extract(a), g)]
    assert len(cut) == 16
    assert all("," in gold or "-" in gold for gold in cut)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{12}", "12"),
        (r"\boxed{1} or rather \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}} done", r"\{1, 2\}"),
        (r"\boxed{never closed", None),
        (r"\boxed{ }", None),
        ("no box", None),
    ],
)
def test_the_last_box(text: str, answer: str | None) -> None:
    assert Boxed().extract(text) == answer


@pytest.mark.parametrize(
    ("text", "official", "clean"),
    [
        ("... #### 12", "12", "12"),
        ("####57,500", "57", "57500"),
        ("#### -3", "0", "-3"),
        ("#### 2.5", "2", "2.5"),
        ("#### $18", "0", "18"),
        ("#### 1 #### 2", "1", "2"),
        ("12", "0", None),
    ],
)
def test_the_number_after_the_hashes(text: str, official: str, clean: str | None) -> None:
    assert FirstHashInteger().extract(text) == official
    assert LastHashNumber().extract(text) == clean


@pytest.mark.parametrize(
    ("extracted", "gold", "same"),
    [
        ("0.5", r"\frac{1}{2}", True),
        (r"\dfrac12", r"\frac{1}{2}", True),
        ("1,000", "1000", True),
        ("(1,2)", "(1, 2)", True),
        ("x+1", "1 + x", True),
        (r"\frac{1}{3}", "0.3", False),
        ("(1,2)", "(2,1)", False),
        ("12", "13", False),
    ],
)
def test_values_are_compared_and_not_strings(extracted: str, gold: str, same: bool) -> None:
    assert is_correct("math", extracted, gold) is same


@pytest.mark.parametrize("rule", [Boxed(), FirstHashInteger(), LastHashNumber()])
def test_an_announced_answer_is_found(rule: Boxed | FirstHashInteger | LastHashNumber) -> None:
    assert rule.extract(rule.announce("12")) == "12"


def test_the_whole_math_test_set_has_a_readable_answer(real_data: Path) -> None:
    with gzip.open(real_data / "math" / "test" / "MATH_test5000.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    unread = [row for row in rows if Boxed().extract(row["solution"]) is None]
    assert len(rows) == 5000
    assert len(unread) == 0


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{12}. The answer is: 13", "12"),
        ("so it is.\nThe answer is: $\\frac12$.", "\\frac12"),
        ("#### 12", "12"),
        ("The answer is: 7\n#### 8", "7"),
        ("The answer is:", None),
        ("it is 7", None),
    ],
)
def test_a_math_answer_is_found_in_any_of_its_forms(text: str, answer: str | None) -> None:
    assert MathAnswer().extract(text) == answer


@pytest.mark.parametrize(
    ("extracted", "gold", "right"),
    [("57", "57,500", True), ("57500", "57,500", False), ("0", "-3", True), ("12", "12", True)],
)
def test_the_official_comparison_cuts_gold_answers_as_well(extracted: str, gold: str, right: bool) -> None:
    assert is_correct("leading_integer", extracted, gold) is right
