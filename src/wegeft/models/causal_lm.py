"""Decoder-only language models through Hugging Face transformers.

Does not: download anything by itself beyond what ``from_pretrained`` fetches for a hub id, run remote code, or read
pickled weights.
"""

from typing import TYPE_CHECKING

import torch
from transformers import AutoModelForCausalLM

from wegeft.config import ModelConfig
from wegeft.models.transformers_source import architecture, pretrained, probe, tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def skeleton(config: ModelConfig) -> "PreTrainedModel":
    """The architecture on the meta device."""
    with torch.device("meta"):
        return _from_architecture(config)


def load(config: ModelConfig, device: torch.device) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase | None]":
    """Model in ``config.dtype`` on ``device`` and its tokenizer.

    The tokenizer is None only for ``weights=random`` without a ``source`` to read one from: such a model is for cost
    measurements, which need no text.
    """
    dtype = getattr(torch, config.dtype)
    if config.weights == "random":
        model = _from_architecture(config).to(dtype)
    else:
        model = pretrained(AutoModelForCausalLM, config, dtype=dtype, use_safetensors=True)
    return model.to(device).eval(), tokenizer(config)


def _from_architecture(config: ModelConfig) -> "PreTrainedModel":
    model: PreTrainedModel = AutoModelForCausalLM.from_config(architecture(config))
    return model


__all__ = ["load", "probe", "skeleton"]
