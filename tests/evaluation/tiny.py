"""A tiny Llama over the tiny tokenizer, for the tests of generation and evaluation."""

from functools import cache

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.tasks.tiny import protocol, tiny_tokenizer
from wegeft.tasks.encoding import TextEncoder


@cache
def tiny_llama() -> LlamaForCausalLM:
    """Two layers of width 32 with grouped queries, random fp32 weights large enough that no two tokens tie."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.4,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=3,
    )
    model = LlamaForCausalLM(config)
    model.eval()
    return model


def tiny_encoder(name: str = "clean", *overrides: str) -> TextEncoder:
    """The tiny tokenizer under a protocol."""
    return TextEncoder(tiny_tokenizer(), protocol(name, *overrides))
