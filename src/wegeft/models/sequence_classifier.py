"""Classifiers of texts through Hugging Face transformers, with a new head as wide as the task has classes.

Does not: download anything by itself beyond what ``from_pretrained`` fetches for a hub id, run remote code, or read
pickled weights.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForSequenceClassification

from wegeft.config import ModelConfig
from wegeft.errors import UserError
from wegeft.models.transformers_source import DEPTH, architecture, pad_id, pretrained, probe, tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def skeleton(config: ModelConfig) -> "PreTrainedModel":
    """The architecture on the meta device."""
    with torch.device("meta"):
        return _from_architecture(config)


def load(config: ModelConfig, device: torch.device) -> "PreTrainedModel":
    """Model in ``config.dtype`` on ``device``; its head is drawn from torch's global generator, so seed that first."""
    dtype = getattr(torch, config.dtype)
    # transformers' annotation of ``to`` is not that of a module.
    model: Any = _from_architecture(config).to(dtype) if config.weights == "random" else _from_weights(config, dtype)
    loaded: PreTrainedModel = model.to(device).eval()
    return loaded


def processor(config: ModelConfig, model: Any) -> "PreTrainedTokenizerBase | None":
    """The tokenizer, as of `wegeft.models.causal_lm.processor`; ``model`` is told by which id it pads.

    Classifiers without an attention to both sides read the last token, which they find by the id of padding.
    """
    found = tokenizer(config)
    if found is not None:
        model.config.pad_token_id = pad_id(found)
    return found


def made_up_loss(model: torch.nn.Module, sequences: int, length: int, labels: int) -> torch.Tensor:
    """Cross-entropy of ``sequences`` made-up texts of ``length`` tokens; see ``models.made_up_loss``."""
    del labels  # a text has one
    device = next(model.parameters()).device
    ids_BL = torch.ones(sequences, length, dtype=torch.int64, device=device)
    # Four dimensions: transformers takes such a mask as it is, where it would read the values of another.
    mask_B1LL = torch.ones(sequences, 1, length, length, dtype=torch.bool, device=device)
    logits_BK: torch.Tensor = model(input_ids=ids_BL, attention_mask=mask_B1LL).logits
    return torch.nn.functional.cross_entropy(logits_BK.float(), ids_BL.new_zeros(sequences))


def _from_architecture(config: ModelConfig) -> "PreTrainedModel":
    described = architecture(config)
    described.num_labels = _classes(config)
    model: PreTrainedModel = AutoModelForSequenceClassification.from_config(described)
    return model


def _from_weights(config: ModelConfig, dtype: torch.dtype) -> "PreTrainedModel":
    options = {"dtype": dtype, "use_safetensors": True, "num_labels": _classes(config)}
    try:
        with _without_remarks():
            model: PreTrainedModel = pretrained(AutoModelForSequenceClassification, config, **options)
    except RuntimeError as error:
        raise UserError(
            f"model.source={config.source} has weights of other shapes, perhaps a head of other than "
            f"{config.classes} outputs; take a checkpoint without a head."
        ) from error
    return model


def _classes(config: ModelConfig) -> int:
    if config.classes is None:
        raise UserError("model.classes is not set: a classifier takes the width of its head from task.classes.")
    return config.classes


@contextmanager
def _without_remarks() -> Iterator[None]:
    """Keep transformers from remarking that the head is new, which is meant so."""
    logger = logging.getLogger("transformers.modeling_utils")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


__all__ = ["DEPTH", "load", "made_up_loss", "probe", "processor", "skeleton"]
