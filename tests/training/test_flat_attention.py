"""Attention within examples: the same as transformers' mask over all pairs, without the pairs."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from wegeft.training.flat_attention import NAME, flat_attention
from wegeft.training.loop import recompute_activations

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 50,
}
LENGTHS = (5, 1, 9, 3)


def llama() -> LlamaForCausalLM:
    return LlamaForCausalLM(LlamaConfig(**SIZES, num_key_value_heads=2)).double()


def gpt2() -> GPT2LMHeadModel:
    sizes: dict[str, Any] = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 50}
    return GPT2LMHeadModel(GPT2Config(**sizes, attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0)).double()


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def flat_batch() -> dict[str, Tensor]:
    positions = [torch.arange(length) for length in LENGTHS]
    return {"input_ids": torch.randint(50, (1, sum(LENGTHS))), "position_ids": torch.cat(positions)[None]}


def run(model: nn.Module, batch: dict[str, Tensor]) -> list[Tensor]:
    logits = model(**batch, use_cache=False).logits
    model.zero_grad()
    logits.square().sum().backward()
    return [logits.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize("build", [llama, gpt2])
@pytest.mark.parametrize("recompute", [False, True])
def test_equals_the_mask_over_all_pairs(build: type, recompute: bool) -> None:
    model = build().train()
    batch = flat_batch()
    expected = run(model, batch)
    recompute_activations(model, recompute)
    with flat_attention(model):
        assert model.config._attn_implementation == NAME
        found = run(model, batch)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_no_tensor_over_all_pairs_is_made() -> None:
    class Largest(TorchDispatchMode):
        pairs = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            del types
            out = func(*args, **(kwargs or {}))
            if isinstance(out, Tensor) and out.shape[-2:] == (sum(LENGTHS), sum(LENGTHS)):
                self.pairs += 1
            return out

    model, batch = llama(), flat_batch()
    for context, makes_some in ((nullcontext(), True), (flat_attention(model), False)):
        with context, Largest() as largest:  # type: ignore[no-untyped-call]
            run(model, batch)
        assert (largest.pairs > 0) == makes_some


def test_padded_batches_are_attended_as_before() -> None:
    model = llama()
    mask_BL = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    batch = {"input_ids": torch.randint(50, (2, 4)), "attention_mask": mask_BL}
    expected = run(model, batch)
    with flat_attention(model):
        run(model, flat_batch())
        found = run(model, batch)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def test_the_model_is_left_as_it_was() -> None:
    model = llama()
    with pytest.raises(KeyboardInterrupt), flat_attention(model):
        raise KeyboardInterrupt
    assert model.config._attn_implementation == "sdpa"
    assert not model.base_model._forward_pre_hooks


def test_what_needs_a_mask_of_its_own_keeps_it() -> None:
    model = MistralForCausalLM(MistralConfig(**SIZES, num_key_value_heads=2, sliding_window=4))
    with flat_attention(model):
        assert model.config._attn_implementation == "sdpa"
    with flat_attention(nn.Linear(2, 2)):
        pass


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_one_kernel_for_all_examples_on_a_gpu() -> None:
    config = LlamaConfig(**{**SIZES, "hidden_size": 128}, num_key_value_heads=2)
    model = nn.Module.to(LlamaForCausalLM(config), "cuda", torch.bfloat16)
    batch = {name: tensor.cuda() for name, tensor in flat_batch().items()}
    expected = run(model, batch)
    with flat_attention(model):
        found = run(model, batch)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0.05, atol=0.05)
