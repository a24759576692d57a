"""What the training computes by a shortcut is what the backbone computes by itself, or it is refused."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, LlamaForCausalLM

from tests.composing import run_config
from tests.tasks.tiny import protocol, tiny_tokenizer
from wegeft.errors import UserError
from wegeft.tasks.base import Example
from wegeft.tasks.encoding import EncodedSet, TextEncoder
from wegeft.tasks.text_prepared import PreparedText
from wegeft.training.agreement import check_agreement
from wegeft.training.objective import CausalLMObjective, full_logits_loss_sum, label_only_loss_sum

AFTER_THE_HEAD: dict[str, dict[str, Any]] = {
    "llama": {},
    "gemma2": {"final_logit_softcapping": 0.5, "head_dim": 8},
    "granite": {"logits_scaling": 8.0},
    "cohere": {"logit_scale": 0.0625},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
}
"""Architectures with what they do to their logits; OPT's head is fed by the decoder inside of its decoder."""


def build(model_type: str, implementation: str | None = None, **fields: Any) -> Any:
    """Two layers of width 32, random weights large enough to tell."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    fields = ({"num_key_value_heads": 4} if model_type in ("mistral", "gemma2") else {}) | fields
    tokens = {"vocab_size": 300, "pad_token_id": 3, "bos_token_id": 1, "eos_token_id": 2}
    config = AutoConfig.for_model(model_type, **sizes, **tokens, initializer_range=0.3, **fields)
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, attn_implementation=implementation).eval()


def encoded(name: str = "clean", *overrides: str) -> tuple[TextEncoder, EncodedSet]:
    encoder = TextEncoder(tiny_tokenizer(), protocol(name, *overrides))
    texts = ("is rain wet? why?", "true or false, which?")
    return encoder, encoder.encode_examples([Example(text, "x", text, "the answer is true", "true") for text in texts])


def check(model: nn.Module, *overrides: str) -> None:
    encoder, items = encoded()
    check_agreement(model, encoder, items, run_config(*overrides).training)


@pytest.mark.parametrize("model_type", AFTER_THE_HEAD)
def test_the_loss_is_that_of_the_logits_that_the_model_gives(model_type: str) -> None:
    model = build(model_type, **AFTER_THE_HEAD[model_type])
    encoder, items = encoded()
    losses, gradients = [], []
    for loss_sum in (label_only_loss_sum, full_logits_loss_sum):
        batch = encoder.collate_train(items[:])
        loss = loss_sum(model, batch, batch.pop("labels"))
        losses.append(loss.detach())
        gradients.append(torch.autograd.grad(loss, [p for p in model.parameters() if p.ndim > 1]))
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=0)
    for ours, reference in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-3, atol=1e-4)
    check(model)


class Shifted(LlamaForCausalLM):
    """Does something before its decoder that nothing else knows of."""

    def forward(self, input_ids: Tensor | None = None, **kwargs: Any) -> Any:
        return super().forward(None if input_ids is None else (input_ids + 1) % 300, **kwargs)


def test_a_model_that_does_more_than_its_decoder_and_head_is_refused() -> None:
    with pytest.raises(UserError, match=r"another loss than the backbone's own logits .* choose another model"):
        check(Shifted(build("llama").config))


@pytest.mark.parametrize(("model_type", "implementation"), [("falcon", None), ("bloom", None), ("opt", "eager")])
def test_flat_batches_are_refused_where_examples_read_each_other(model_type: str, implementation: str | None) -> None:
    fields: dict[str, Any] = {"alibi": True} if model_type == "falcon" else AFTER_THE_HEAD.get(model_type, {})
    model = build(model_type, implementation, **fields)
    check(model)
    with pytest.raises(UserError, match=r"training\.batching=flat: .* type .*; set training\.batching=padded"):
        check(model, "training.batching=flat")


@pytest.mark.parametrize("model_type", ["llama", "gpt_neox", "mistral"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_flat_batches_are_taken_where_they_are_kept_apart(model_type: str, dtype: torch.dtype) -> None:
    check(build(model_type).to(dtype), "training.batching=flat")


def test_nothing_is_left_behind() -> None:
    model = build("llama", attention_dropout=0.5).train()
    before = torch.get_rng_state()
    check(model, "training.batching=flat")
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("overrides", [(), ("train_on_inputs=true",)])
def test_every_protocol_and_few_examples_will_do(overrides: tuple[str, ...]) -> None:
    config = run_config("training.batching=flat").training
    encoder, items = encoded("v5", *overrides)
    check_agreement(build("llama"), encoder, items[:1], config)
    check_agreement(build("llama"), encoder, [], config)


def test_a_task_refuses_before_the_first_step() -> None:
    encoder, items = encoded()
    config = run_config("training.batching=flat").training
    prepared = PreparedText.__new__(PreparedText)  # without the data of a task
    prepared._encoder, prepared.train_items, prepared.objective = encoder, items, CausalLMObjective(encoder)
    assert prepared.objective_for(build("llama"), config) is prepared.objective
    with pytest.raises(UserError, match=r"training\.batching=flat"):
        prepared.objective_for(build("bloom"), config)
