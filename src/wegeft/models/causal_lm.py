"""Decoder-only language models through Hugging Face transformers.

Does not: download anything by itself beyond what ``from_pretrained`` fetches for a hub id, run remote code, or read
pickled weights.
"""

from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM

from wegeft.config import ModelConfig
from wegeft.errors import UserError
from wegeft.models.transformers_source import DEPTH, architecture, pretrained, probe, tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def skeleton(config: ModelConfig) -> "PreTrainedModel":
    """The architecture on the meta device."""
    with torch.device("meta"):
        return _from_architecture(config)


def load(config: ModelConfig, device: torch.device) -> "PreTrainedModel":
    """Model in ``config.dtype`` on ``device``.

    Raises:
        UserError: the source cannot be had, is damaged, or lacks weights, which would be filled with random ones.
    """
    dtype = getattr(torch, config.dtype)
    if config.weights == "random":
        model = _from_architecture(config).to(dtype)
    else:
        options = {"dtype": dtype, "use_safetensors": True, "output_loading_info": True}
        model, found = pretrained(AutoModelForCausalLM, config, **options)
        missing = sorted(found["missing_keys"])
        if missing:
            raise UserError(
                f"model.source={config.source} lacks {len(missing)} of the model's weights, {missing[0]} first; "
                "model.weights=random trains one without any."
            )
    loaded: PreTrainedModel = model.to(device).eval()
    return loaded


def processor(config: ModelConfig, model: torch.nn.Module) -> "PreTrainedTokenizerBase | None":
    """The tokenizer.

    It is None only for ``weights=random`` without a ``source`` to read one from: such a model is for cost measurements,
    which need no text.
    """
    del model
    return tokenizer(config)


def made_up_loss(model: torch.nn.Module, sequences: int, length: int, labels: int) -> torch.Tensor:
    """Cross-entropy at ``labels`` of ``sequences`` × ``length`` made-up positions; see ``models.made_up_loss``."""
    from wegeft.training.head import Head
    from wegeft.training.objective import chunked_loss_sum

    unwrapped: Any = model
    device = unwrapped.get_output_embeddings().weight.device
    ids_BL = torch.zeros(sequences, length, dtype=torch.int64, device=device)
    # Four dimensions: transformers takes such a mask as it is, where it would read the values of another.
    mask_B1LL = torch.ones(sequences, 1, length, length, dtype=torch.bool, device=device)
    output = unwrapped.base_model(input_ids=ids_BL, attention_mask=mask_B1LL, use_cache=False)
    hidden_ND = output.last_hidden_state.flatten(0, 1)[:labels]
    targets_N = torch.zeros(labels, dtype=torch.int64, device=device)
    return chunked_loss_sum(Head(unwrapped, output), hidden_ND, targets_N)


def _from_architecture(config: ModelConfig) -> "PreTrainedModel":
    model: PreTrainedModel = AutoModelForCausalLM.from_config(architecture(config))
    return model


__all__ = ["DEPTH", "load", "made_up_loss", "probe", "processor", "skeleton"]
