"""A prefix that is run once changes no answer, and is used only where that is known."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    PretrainedConfig,
    Qwen3Config,
)

from tests.evaluation.test_generate import GREEDY, NEW_TOKENS, PROMPTS, encoder_that_stops, slow
from tests.evaluation.tiny import tiny_encoder, tiny_llama
from wegeft.evaluation.config import EvaluationConfig
from wegeft.evaluation.decoding import Chooser
from wegeft.evaluation.engine import Questions
from wegeft.evaluation.generate import generate
from wegeft.evaluation.in_process import InProcess
from wegeft.evaluation.shared_prefix import Group, common, grouped, prefix_of
from wegeft.tasks.encoding import TextEncoder

LEAD = "please answer the following question with true or false: "
SIZES: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.4,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 3,
}
GATED: dict[str, Any] = {**SIZES, "intermediate_size": 64, "num_key_value_heads": 2}
SCALED = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
FIXED = {
    "llama": LlamaConfig(**GATED),
    "llama3": LlamaConfig(**GATED, rope_parameters={**SCALED, "original_max_position_embeddings": 64}),
    "qwen3": Qwen3Config(**GATED, head_dim=8),
    "mistral without a window": MistralConfig(**GATED, sliding_window=None),
    "gpt-neox, partial rotary": GPTNeoXConfig(**SIZES, intermediate_size=64),
    "gpt2, learned positions": GPT2Config(**SIZES),
    "opt, learned positions": OPTConfig(**SIZES, ffn_dim=64, word_embed_proj_dim=32),
}
OTHERS = {
    "window": MistralConfig(**GATED, sliding_window=4096),
    "windows in some layers": Qwen3Config(
        **GATED, head_dim=8, sliding_window=8, layer_types=["full_attention", "sliding_attention"]
    ),
    "moving frequencies": LlamaConfig(
        **GATED, rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    ),
}


def model_of(config: PretrainedConfig) -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = AutoModelForCausalLM.from_config(config).double()
    return model.eval()


def prompts_of(encoder: TextEncoder) -> list[list[int]]:
    return encoder.encode_prompts([LEAD + prompt for prompt in PROMPTS]).input_ids


@torch.inference_mode()
def first_logits(model: nn.Module, encoder: TextEncoder, shared: bool) -> Tensor:
    """Of the first new token of every prompt, in one batch, (B, V)."""
    prompts = prompts_of(encoder)
    prefix = prefix_of(model, encoder, prompts[0][: common(prompts)]) if shared else None
    batch = encoder.collate_prompts(prompts, prefix.length if prefix else 0)
    cache = prefix.cache(len(prompts)) if prefix else None
    logits_BLV: Tensor = model(**batch, past_key_values=cache, use_cache=True).logits
    assert prefix is not None or not shared
    return logits_BLV[:, -1]


@pytest.mark.parametrize("name", ["clean", "v5", "v3"])
@pytest.mark.parametrize("kind", FIXED)
def test_logits_are_those_without_a_prefix(kind: str, name: str) -> None:
    model, encoder = model_of(FIXED[kind]), tiny_encoder(name)
    shared_BV = first_logits(model, encoder, shared=True)
    torch.testing.assert_close(shared_BV, first_logits(model, encoder, shared=False), rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", OTHERS)
def test_a_model_that_counts_places_in_the_cache_has_no_prefix(kind: str) -> None:
    encoder = tiny_encoder()
    assert prefix_of(model_of(OTHERS[kind]), encoder, prompts_of(encoder)[0][:8]) is None


def test_a_model_without_positions_has_no_prefix() -> None:
    class Recurrent(nn.Module):
        """Takes no positions."""

        def forward(self, input_ids: Tensor, **_options: Any) -> Tensor:
            return input_ids

    assert prefix_of(Recurrent(), tiny_encoder(), [1, 5]) is None
    assert prefix_of(tiny_llama(), tiny_encoder(), []) is None


def answers(encoder: TextEncoder, batch_size: int) -> list[list[int]]:
    prompts = prompts_of(encoder)
    prefix = prefix_of(tiny_llama(), encoder, prompts[0][: common(prompts)])
    assert prefix is not None
    found: dict[int, list[int]] = {}
    chooser = Chooser(GREEDY, prompts, [""] * len(prompts))
    generate(tiny_llama(), encoder, prompts, NEW_TOKENS, batch_size, chooser, found.__setitem__, prefix)
    return [found[position] for position in range(len(prompts))]


@pytest.mark.parametrize("name", ["clean", "v5"])
@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_every_batch_size_gives_the_slow_path_tokens(name: str, batch_size: int) -> None:
    encoder = encoder_that_stops(name)
    expected = [slow(encoder, ids) for ids in prompts_of(encoder)]
    assert len({len(ids) for ids in expected}) > 1  # so that rows leave the batch
    assert answers(encoder, batch_size) == expected


def test_one_id_of_every_prompt_comes_after_the_prefix() -> None:
    assert common([[1, 2, 3], [1, 2, 4, 5]]) == 2
    assert common([[1, 2], [1, 2, 3]]) == 1
    assert common([[1, 2, 3]] * 2) == 2
    assert common([[1], [1]]) == common([[2, 3], [4, 3]]) == common([]) == 0


def test_large_sets_with_a_lead_of_their_own_are_apart_and_the_others_together() -> None:
    def prompts(lead: int, count: int) -> list[list[int]]:
        return [[1, *[lead] * 6, 100 + number, *[7] * 5] for number in range(count)]

    three = [*prompts(2, 8), *prompts(3, 8), *prompts(4, 3)]
    sets = ["two"] * 8 + ["three"] * 8 + ["four"] * 3
    assert grouped(three, sets, batch_size=4) == [
        Group(tuple(range(8)), 7),
        Group(tuple(range(8, 16)), 7),
        Group((16, 17, 18), 7),
    ]
    assert grouped(three, sets, batch_size=5) == [Group(tuple(range(19)), 0)]
    assert grouped(prompts(2, 8), ["a"] * 4 + ["b"] * 4, batch_size=1) == [Group(tuple(range(8)), 7)]
    assert grouped([], [], batch_size=4) == []


def test_a_short_prefix_is_not_worth_it() -> None:
    long = [[1, number, *[7] * 20] for number in range(50)]
    assert grouped(long, ["set"] * 50, batch_size=4) == [Group(tuple(range(50)), 0)]


def test_an_evaluation_runs_it_once_and_each_batch_from_there() -> None:
    encoder, passes = tiny_encoder(), []
    prompts = prompts_of(encoder)
    shared = common(prompts)
    questions = Questions(prompts, ["set"] * len(prompts), [""] * len(prompts), 1, GREEDY)
    config = EvaluationConfig(batch_size=4, merge=True, limit=None)
    session = InProcess(tiny_llama(), encoder, config).ask(questions)
    hook = tiny_llama().register_forward_pre_hook(
        lambda _, _args, options: passes.append(tuple(options["input_ids"].shape)), with_kwargs=True
    )
    try:
        for batch in session.batches:
            session.answer(batch)
    finally:
        hook.remove()
    longest = [max(len(prompts[position]) for position in batch) for batch in session.batches]
    rests = [(len(batch), length - shared) for batch, length in zip(session.batches, longest, strict=True)]
    assert passes == [(1, shared), *rests]


@torch.inference_mode()
def test_the_prefix_stays_as_it_is() -> None:
    prefix = prefix_of(tiny_llama(), tiny_encoder(), [1, 5, 6])
    assert prefix is not None
    before = [keys.clone() for keys, _ in prefix.layers]
    tiny_llama()(input_ids=torch.tensor([[7], [8]]), past_key_values=prefix.cache(2), use_cache=True)
    assert all(torch.equal(a, b) for a, (b, _) in zip(before, prefix.layers, strict=True))
