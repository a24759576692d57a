"""Extraction and comparison, rule by rule: texts and the answers they must give."""

import pytest

from tests.tasks.tiny import text_task
from wegeft.evaluation.compare import Comparison, is_correct
from wegeft.evaluation.extractors import (
    AfterTrigger,
    AfterTriggerConfig,
    ChoiceLetter,
    Extractor,
    FirstLetter,
    LastNumber,
    MarkerConfig,
)

LAST = MarkerConfig(marker="### Response:", occurrence="last")
FIRST = MarkerConfig(marker="### Response:", occurrence="first")
TRIGGER = "the correct answer is"


def after_trigger(occurrence: str, trigger_space: bool = False) -> AfterTrigger:
    return AfterTrigger(
        AfterTriggerConfig.model_validate(
            {"trigger": TRIGGER, "occurrence": occurrence, "trigger_space": trigger_space}
        )
    )


@pytest.mark.parametrize(
    ("text", "last", "first"),
    [
        ("the correct answer is true", "true", "true"),
        ("the correct answer is true\n", "true", "true"),
        ("the correct answer is true.", "true.", "true."),
        ("the correct answer is true because rain is wet", "true because rain is wet", "true because rain is wet"),
        ("the correct answer is true the correct answer is false", "false", "true the correct answer is false"),
        ("the correct answer is true\nthe correct answer is", None, "true\nthe correct answer is"),
        ("The correct answer is true", None, None),
        ("answer: true", None, None),
        ("the correct answer is", None, None),
        ("the correct answer is   \n", None, None),
        ("", None, None),
    ],
)
def test_after_the_trigger(text: str, last: str | None, first: str | None) -> None:
    assert after_trigger("last").extract(text) == last
    assert after_trigger("first").extract(text) == first


def test_v3_wants_a_blank_after_the_trigger() -> None:
    assert after_trigger("first", trigger_space=True).extract("the correct answer is\ntrue") is None
    assert after_trigger("first", trigger_space=False).extract("the correct answer is\ntrue") == "true"
    assert after_trigger("first", trigger_space=True).extract("the correct answer is  true") == "true"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("The answer is 12.", "12."),
        ("She pays 57,500 dollars", "57500"),
        ("from 3 to -4", "-4"),
        ("3 - 4", "4"),
        ("3-4", "-4"),  # the official pattern takes the minus for a sign
        ("0.5 of it", "0.5"),
        ("x = .5", "5"),  # digits must come before the point
        ("1.8333333333333335", "1.8333333333333335"),
        ("no number", None),
        ("", None),
    ],
)
def test_the_last_number(text: str, number: str | None) -> None:
    assert LastNumber(LAST).extract(text) == number


@pytest.mark.parametrize(
    ("text", "official", "strict"),
    [
        ("The answer is C.", "C", "C"),
        ("A train travels 60 km. The answer is D", "A", "D"),
        ("Converting gives 12. The answer is (B)", "C", "B"),
        ("The correct option is (E).", "E", "E"),
        ("Answer Choices: (A) 1 (B) 2 (C) 3", "A", None),
        ("C", "C", "C"),
        ("C) 12 apples", "C", None),
        ("D.\n", "D", "D"),
        ("A dog has legs", "A", None),
        ("the answer is a number", None, None),
        ("the answer is A or, checking again, the answer is B", "A", "B"),
        ("Because it is 4", "B", None),
        ("it is 4", None, None),
    ],
)
def test_the_letter_of_a_choice(text: str, official: str | None, strict: str | None) -> None:
    assert FirstLetter(LAST).extract(text) == official
    assert ChoiceLetter(LAST).extract(text) == strict


def test_v5_reads_after_a_heading_that_the_model_wrote_itself_and_v3_does_not() -> None:
    text = "The answer is 12.\n### Response:\nNone."
    assert LastNumber(LAST).extract(text) is None
    assert LastNumber(FIRST).extract(text) == "12."
    assert FirstLetter(LAST).extract("B\n### Response:\nC") == "C"
    assert FirstLetter(FIRST).extract("B\n### Response:\nC") == "B"


@pytest.mark.parametrize(
    ("rule", "extracted", "gold", "right"),
    [
        ("exact", "true", "true", True),
        ("exact", " true\n", "true ", True),
        ("exact", "true.", "true", False),
        ("exact", "True", "true", False),
        ("exact", None, "true", False),
        ("number", "12.", "12.0", True),
        ("number", "12.001", "12.0", True),
        ("number", "12.0011", "12.0", False),
        ("number", "-3", "3", False),
        ("number", "57500", "57,500", True),
        ("number", None, "0.0", False),
        ("number", "nan", "nan", False),
        ("number", "inf", "inf", False),
        ("number", "3", "three", False),
    ],
)
def test_comparison(rule: Comparison, extracted: str | None, gold: str, right: bool) -> None:
    assert is_correct(rule, extracted, gold) is right


@pytest.mark.parametrize("extractor", [after_trigger("last"), LastNumber(LAST), FirstLetter(LAST), ChoiceLetter(LAST)])
def test_an_announced_answer_is_found(extractor: Extractor) -> None:
    gold = "12" if isinstance(extractor, LastNumber) else "B"
    assert extractor.extract(extractor.announce(gold)) == gold


@pytest.mark.parametrize(
    ("name", "occurrence", "space"), [("clean", "last", ""), ("v5", "last", ""), ("v3", "first", " ")]
)
def test_the_protocol_chooses_the_occurrence(name: str, occurrence: str, space: str) -> None:
    extractor = text_task(f"protocol={name}").extractors("boolq")["official"]
    assert isinstance(extractor, AfterTrigger)
    assert extractor.occurrence == occurrence
    assert extractor.trigger == TRIGGER + space
