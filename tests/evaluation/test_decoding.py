"""Choosing tokens: the distribution that is drawn from, streams of their own, no repetition."""

from collections import Counter

import pytest
import torch
from pydantic import ValidationError

from wegeft.evaluation.decoding import Chooser, DecodingConfig, continuations, repeated_ngram_ends

LOGITS_BV = torch.tensor([[2.0, 0.0, 1.0, -1.0]])


def draws(config: DecodingConfig, count: int = 2000) -> Counter[int]:
    chooser = Chooser(config, [[0]], ["q#0"])
    return Counter(chooser.choose(LOGITS_BV, [0], [[]])[0] for _ in range(count))


def test_draws_follow_the_tempered_softmax() -> None:
    found = draws(DecodingConfig(temperature=0.5))
    expected = (LOGITS_BV[0] / 0.5).softmax(dim=-1)
    for token, share in enumerate(expected.tolist()):
        assert found[token] / 2000 == pytest.approx(share, abs=0.03)


def test_top_p_keeps_the_smallest_set_with_that_probability() -> None:
    # Probabilities 0.644, 0.237, 0.087, 0.032 of tokens 0, 2, 1, 3.
    assert set(draws(DecodingConfig(temperature=1.0, top_p=0.6))) == {0}
    assert set(draws(DecodingConfig(temperature=1.0, top_p=0.7))) == {0, 2}
    assert set(draws(DecodingConfig(temperature=1.0, top_p=0.9))) == {0, 2, 1}


def test_every_answer_has_a_stream_of_its_own() -> None:
    config = DecodingConfig(temperature=1.0, samples=2)
    logits_BV = torch.zeros(2, 1000)
    chooser = Chooser(config, [[0], [0]], ["q#0", "q#1"])
    first, second = chooser.choose(logits_BV, [0, 1], [[], []])
    assert first != second
    alone = Chooser(config, [[0], [0]], ["q#0", "q#1"])
    assert alone.choose(logits_BV[:1], [1], [[]]) == [second]


def test_greedy_takes_the_most_probable_token() -> None:
    assert Chooser(DecodingConfig(), [[0]], ["q#0"]).choose(LOGITS_BV.bfloat16(), [0], [[]]) == [0]


@pytest.mark.parametrize(
    ("history", "size", "ends"),
    [([1, 2, 3, 1, 2], 3, [3]), ([1, 2, 1, 3, 1], 2, [2, 3]), ([1, 2], 3, []), ([1, 1], 1, [1]), ([1, 2, 1], 0, [])],
)
def test_tokens_that_would_repeat_a_run(history: list[int], size: int, ends: list[int]) -> None:
    assert repeated_ngram_ends(history, size) == ends


@pytest.mark.parametrize("values", [{"samples": 5}, {"temperature": 1.0, "samples": 2, "pass_at": (3,)}])
def test_settings_that_contradict_each_other_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DecodingConfig.model_validate(values)


@pytest.mark.parametrize(
    ("answer", "tokens"), [([], [5, 9]), ([5], [6]), ([5, 6], [2, 7]), ([5, 6, 2], []), ([8], []), ([9], [2])]
)
def test_tokens_that_keep_an_answer_among_the_listed(answer: list[int], tokens: list[int]) -> None:
    assert continuations([[5, 6, 2], [5, 6, 7, 2], [9, 2]], answer) == tokens


def test_nothing_is_written_but_a_listed_answer() -> None:
    chooser = Chooser(DecodingConfig(listed=True), [[0], [0]], ["q#0", "q#1"], [[[1, 3]], [[1, 3], [2, 3]]])
    logits_BV = LOGITS_BV.expand(2, -1)  # token 0 is the most probable, and in no listed answer
    assert chooser.choose(logits_BV, [0, 1], [[], []]) == [1, 2]
    assert chooser.choose(logits_BV, [1, 0], [[2], [1]]) == [3, 3]
    assert chooser.choose(logits_BV, [0, 1], [[1, 3], [2]]) == [0, 3]  # an answer that is over is not looked at again


def test_listed_answers_are_not_free_greedy_text() -> None:
    assert DecodingConfig().is_greedy
    assert not DecodingConfig(listed=True).is_greedy
