"""Decoder-only language models through Hugging Face transformers.

Does not: download anything by itself beyond what ``from_pretrained`` fetches for a hub id, run remote code, or read
pickled weights.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from wegeft.config import ModelConfig
from wegeft.errors import UserError
from wegeft.models.packaged import packaged_folder

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


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
        model = _pretrained(AutoModelForCausalLM, config, dtype=dtype, use_safetensors=True)
    return model.to(device).eval(), _tokenizer(config)


def resolve_source(config: ModelConfig) -> str:
    """The folder or hub id that ``config.source`` means.

    Raises:
        UserError: a packaged backbone of that name does not exist, or a path that does not.
    """
    packaged = packaged_folder(config.source)
    if packaged is not None:
        return str(packaged)
    looks_like_path = config.source.startswith(("/", ".", "~"))
    if looks_like_path and not Path(config.source).expanduser().is_dir():
        raise UserError(f"model.source={config.source} is not a folder.")
    return str(Path(config.source).expanduser()) if looks_like_path else config.source


def _from_architecture(config: ModelConfig) -> "PreTrainedModel":
    model: PreTrainedModel = AutoModelForCausalLM.from_config(_architecture(config))
    return model


def _architecture(config: ModelConfig) -> "PretrainedConfig":
    """The transformers config, from the YAML if it states one, else from the source."""
    if config.architecture is None:
        found: PretrainedConfig = _pretrained(AutoConfig, config)
        return found
    fields = dict(config.architecture)
    model_type = fields.pop("model_type", None)
    if not isinstance(model_type, str):
        raise UserError("model.architecture names no model_type (a transformers architecture such as llama).")
    try:
        return AutoConfig.for_model(model_type, **fields)
    except ValueError as error:
        raise UserError(f"model.architecture.model_type={model_type}: transformers knows no such model.") from error


def _tokenizer(config: ModelConfig) -> "PreTrainedTokenizerBase | None":
    try:
        found: PreTrainedTokenizerBase = _pretrained(AutoTokenizer, config)
    except UserError:
        if config.weights == "random" and not config.untrained_control:
            return None
        raise
    return found


def _pretrained(auto_class: Any, config: ModelConfig, **options: Any) -> Any:
    """``auto_class.from_pretrained`` with every way to fail turned into one sentence."""
    source = resolve_source(config)
    try:
        return auto_class.from_pretrained(source, revision=config.revision, trust_remote_code=False, **options)
    except (OSError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(
            f"model.source={config.source} could not be loaded ({reason}): it must be a folder with config.json, "
            "safetensors weights and a tokenizer, or a hub id that this machine can reach and has access to."
        ) from error
