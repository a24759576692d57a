"""Outcomes of questions: packed and unpacked without loss, and a few answers kept."""

import random

import pytest

from wegeft.evaluation.samples import Sample
from wegeft.records.outcomes import EXAMPLE_LENGTH, pack, pick_examples, unpack


def _sample(subset: str, number: int, score: float, text: str = "the correct answer is true") -> Sample:
    return Sample(
        uid=f"{subset}/test/{number}",
        subset=subset,
        prompt_sha256="0" * 64,
        prompt_ids_n=7,
        text=text,
        extracted="true",
        gold="true",
        score=score,
        extractor="after_trigger",
        extractor_version=1,
    )


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 9, 500, 3270])
def test_what_is_packed_is_unpacked(n: int) -> None:
    source = random.Random(n)
    right = [source.random() < 0.6 for _ in range(n)]
    packed = pack(_sample("boolq", index, float(bit)) for index, bit in enumerate(right))
    assert unpack(packed["boolq"], n) == right
    assert len(packed["boolq"]["right"]) <= n / 4 + 1


def test_subsets_stay_apart() -> None:
    packed = pack([_sample("boolq", 0, 1.0), _sample("piqa", 0, 0.0), _sample("boolq", 1, 0.0)])
    assert unpack(packed["boolq"], 2) == [True, False]
    assert unpack(packed["piqa"], 1) == [False]


def test_the_digest_tells_other_questions_apart() -> None:
    one = pack([_sample("boolq", 0, 1.0), _sample("boolq", 1, 1.0)])["boolq"]["questions"]
    swapped = pack([_sample("boolq", 1, 1.0), _sample("boolq", 0, 1.0)])["boolq"]["questions"]
    scored = pack([_sample("boolq", 0, 0.0), _sample("boolq", 1, 1.0)])["boolq"]["questions"]
    assert one != swapped
    assert one == scored


def test_scores_between_right_and_wrong_are_left_out() -> None:
    assert list(pack([_sample("stsb", 0, 0.5), _sample("boolq", 0, 1.0)])) == ["boolq"]


def test_another_number_of_questions_is_refused() -> None:
    packed = pack([_sample("boolq", 0, 1.0)])["boolq"]
    with pytest.raises(ValueError, match="1 digits do not hold 5 outcomes"):
        unpack(packed, 5)


def test_a_few_examples_of_each_kind_are_kept_and_cut() -> None:
    long = "x" * (EXAMPLE_LENGTH + 50)
    samples = [_sample("boolq", number, float(number % 2), long) for number in range(10)]
    examples = pick_examples([*samples, _sample("piqa", 0, 1.0)])
    assert [example["uid"].rpartition("/")[2] for example in examples] == ["0", "1", "2", "3", "0"]
    assert {len(example["text"]) for example in examples} == {EXAMPLE_LENGTH, 26}
