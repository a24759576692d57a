"""Decoding: the fast path gives the slow path's tokens, whatever a prompt is batched with."""

from typing import Any

import pytest
import torch

from tests.evaluation.tiny import tiny_encoder, tiny_llama
from wegeft.evaluation.decoding import Chooser, DecodingConfig
from wegeft.evaluation.engine import IsDecided, never
from wegeft.evaluation.generate import LOOK_EVERY, generate
from wegeft.tasks.encoding import TextEncoder

NEW_TOKENS = 24
GREEDY = DecodingConfig()
PROMPTS = [
    "the answer",
    "is true or false",
    "a",
    "the correct answer is",
    "why does rain fall down and never up?",
    "or",
    "false false false false false false",
    "b",
    "the answer is the answer",
    "c d e f g",
    "is it?",
]


def encoder_that_stops(name: str = "clean") -> TextEncoder:
    """An encoder whose EOS is a token that the random model does write, early in some answers and never in others."""
    encoder = tiny_encoder(name)
    written = [slow(encoder, ids) for ids in encoder.encode_prompts(PROMPTS).input_ids]
    tokens = {token for ids in written for token in ids}
    lengths = {token: [ids.index(token) for ids in written if token in ids] for token in tokens}
    encoder.eos_id = max(lengths, key=lambda token: (len(set(lengths[token])), -token))
    assert len(set(lengths[encoder.eos_id])) > 2
    return encoder


@torch.inference_mode()
def slow(encoder: TextEncoder, prompt_ids: list[int]) -> list[int]:
    """One prompt, no padding, no cache: the whole sequence again for every token."""
    ids, mask = list(prompt_ids), encoder.collate_prompts([prompt_ids])["attention_mask"][0].tolist()
    for _ in range(NEW_TOKENS):
        positions = (torch.tensor([mask]).cumsum(dim=1) - 1).clamp(min=0)
        logits_BLV = tiny_llama()(
            input_ids=torch.tensor([ids]),
            attention_mask=torch.tensor([mask]),
            position_ids=positions,
            use_cache=False,
        ).logits
        ids.append(int(logits_BLV[0, -1].argmax()))
        mask.append(1)
        if ids[-1] == encoder.eos_id:
            break
    return ids[len(prompt_ids) :]


def fast(
    encoder: TextEncoder, batch_size: int, decoding: DecodingConfig = GREEDY, is_decided: IsDecided = never
) -> list[list[int]]:
    prompts = encoder.encode_prompts(PROMPTS).input_ids
    answers: dict[int, list[int]] = {}
    chooser = Chooser(decoding, prompts, [f"prompt {number}#0" for number in range(len(prompts))])
    generate(tiny_llama(), encoder, prompts, NEW_TOKENS, batch_size, chooser, answers.__setitem__, None, is_decided)
    return [answers[position] for position in range(len(PROMPTS))]


@pytest.mark.parametrize("name", ["clean", "v5"])
@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_every_batch_size_gives_the_slow_path_tokens(name: str, batch_size: int) -> None:
    encoder = encoder_that_stops(name)
    expected = [slow(encoder, ids) for ids in encoder.encode_prompts(PROMPTS).input_ids]
    assert fast(encoder, batch_size) == expected
    lengths = {len(ids) for ids in expected}
    assert NEW_TOKENS in lengths  # some answers are cut by the limit ...
    assert min(lengths) < NEW_TOKENS / 2  # ... and some end early, so that rows leave the batch


def test_it_agrees_with_transformers_generate() -> None:
    encoder = encoder_that_stops()
    batch = encoder.collate_prompts(encoder.encode_prompts(PROMPTS).input_ids)
    model: Any = tiny_llama()  # transformers' annotation of generate() does not accept its own models
    reference = model.generate(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        max_new_tokens=NEW_TOKENS,
        do_sample=False,
        eos_token_id=encoder.eos_id,
        pad_token_id=encoder.pad_id,
    )
    new_BL = reference[:, batch["input_ids"].shape[1] :].tolist()
    ours = fast(encoder, 4)
    assert [ids[: len(answer)] for ids, answer in zip(new_BL, ours, strict=True)] == ours


SAMPLED = DecodingConfig(temperature=0.8, top_p=0.95, seed=3)


def test_a_sampled_answer_depends_on_the_seed_and_not_on_the_batch() -> None:
    encoder = encoder_that_stops()
    answers = fast(encoder, 1, SAMPLED)
    assert fast(encoder, 4, SAMPLED) == fast(encoder, 16, SAMPLED) == answers
    assert fast(encoder, 4, SAMPLED.model_copy(update={"seed": 4})) != answers
    assert fast(encoder, 4) != answers


def test_repetition_rules_agree_with_transformers_generate() -> None:
    encoder = encoder_that_stops()
    decoding = DecodingConfig(repetition_penalty=1.3, no_repeat_ngram=2)
    for prompt, ours in zip(PROMPTS, fast(encoder, 4, decoding), strict=True):
        model: Any = tiny_llama()
        ids = torch.tensor([encoder.encode_prompt(prompt)])
        reference = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            repetition_penalty=1.3,
            no_repeat_ngram_size=2,
            eos_token_id=encoder.eos_id,
            pad_token_id=encoder.pad_id,
        )
        assert reference[0, ids.shape[1] :].tolist() == ours


def test_eos_ends_an_answer_and_is_reported() -> None:
    encoder = encoder_that_stops()
    answers = fast(encoder, 4)
    ended = [ids for ids in answers if encoder.eos_id in ids]
    assert ended
    for ids in ended:
        assert ids.index(encoder.eos_id) == len(ids) - 1


@pytest.mark.parametrize("decoding", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_a_decided_answer_is_the_beginning_of_the_whole_one(batch_size: int, decoding: DecodingConfig) -> None:
    encoder = encoder_that_stops()
    if decoding is GREEDY:
        whole = [slow(encoder, ids) for ids in encoder.encode_prompts(PROMPTS).input_ids]
    else:
        whole = fast(encoder, 16, decoding)
    expected = [ids[:LOOK_EVERY] if position % 2 else ids for position, ids in enumerate(whole)]
    assert sum(map(len, expected)) < sum(map(len, whole))
    looked: list[int] = []

    def is_decided(position: int, ids: list[int]) -> bool:
        looked.append(len(ids))
        return position % 2 == 1

    assert fast(encoder, batch_size, decoding, is_decided) == expected
    assert set(looked) == {LOOK_EVERY}


def test_nothing_to_answer_is_no_error() -> None:
    generate(tiny_llama(), tiny_encoder(), [], NEW_TOKENS, 4, Chooser(GREEDY, [], []), lambda *_: None)
