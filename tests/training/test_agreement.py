"""What the training computes by a shortcut is what the backbone computes by itself."""

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tests.tasks.tiny import protocol, tiny_tokenizer
from wegeft.tasks.base import Example
from wegeft.tasks.encoding import EncodedSet, TextEncoder
from wegeft.training.objective import full_logits_loss_sum, label_only_loss_sum

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
