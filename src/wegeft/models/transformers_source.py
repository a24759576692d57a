"""Where a backbone of transformers comes from: a folder, a hub id, a packaged one, or an architecture in the YAML.

Does not: choose a class of model (the module of its family does), run remote code, or read pickled weights.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, AutoTokenizer

from wegeft.config import ModelConfig
from wegeft.errors import UserError
from wegeft.models.packaged import packaged_folder

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

DEPTH = "num_hidden_layers"
"""See `wegeft.models.depth_key`."""


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


def architecture(config: ModelConfig) -> "PretrainedConfig":
    """The transformers config, from the YAML if it states one, else from the source."""
    if config.architecture is None:
        found: PretrainedConfig = pretrained(AutoConfig, config)
        return found
    fields = dict(config.architecture)
    model_type = fields.pop("model_type", None)
    if not isinstance(model_type, str):
        raise UserError("model.architecture names no model_type (a transformers architecture such as llama).")
    try:
        return AutoConfig.for_model(model_type, **fields)
    except ValueError as error:
        raise UserError(f"model.architecture.model_type={model_type}: transformers knows no such model.") from error


def tokenizer(config: ModelConfig) -> "PreTrainedTokenizerBase | None":
    """The tokenizer beside the weights; None only for ``weights=random`` without a ``source`` to read one from."""
    try:
        found: PreTrainedTokenizerBase = _read_tokenizer(config)
    except UserError:
        if config.weights == "random" and not config.untrained_control:
            return None
        raise
    return found


def _read_tokenizer(config: ModelConfig) -> Any:
    try:
        return pretrained(AutoTokenizer, config)
    except UserError:
        raise
    except Exception as error:  # of a damaged file: KeyError, AttributeError, a bare Exception of tokenizers
        reason = f"{type(error).__name__}: {error}".split("\n")[0]
        raise UserError(
            f"the tokenizer of model.source={config.source} cannot be read ({reason}): its tokenizer.json or "
            "tokenizer_config.json is damaged."
        ) from error


def pad_id(tokenizer: "PreTrainedTokenizerBase") -> int:
    """The id that a classifier pads with: the tokenizer's own, or EOS.

    Raises:
        UserError: it has neither.
    """
    found = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    if not isinstance(found, int):
        raise UserError(f"the tokenizer of {tokenizer.name_or_path} has no pad and no EOS token to pad with.")
    return found


def pretrained(auto_class: Any, config: ModelConfig, **options: Any) -> Any:
    """``auto_class.from_pretrained`` with every way to fail turned into one sentence."""
    source = resolve_source(config)
    try:
        return auto_class.from_pretrained(source, revision=config.revision, trust_remote_code=False, **options)
    except (OSError, ValueError, SafetensorError, StrictDataclassError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(
            f"model.source={config.source} could not be loaded ({reason}): it must be a folder with config.json, "
            "safetensors weights and a tokenizer, or a hub id that this machine can reach and has access to."
        ) from error


def probe(model: "PreTrainedModel", tokens: int) -> Callable[[Any], Tensor]:
    """A pass of one sequence from embeddings to the last hidden state, see `wegeft.models.probe`."""
    width = model.config.get_text_config().hidden_size
    x_BLD = torch.randn(1, tokens, width).to(model.device, model.dtype).requires_grad_()

    def run(network: Any) -> Tensor:
        hidden_BLD: Tensor = network.base_model(inputs_embeds=x_BLD, use_cache=False).last_hidden_state
        return hidden_BLD

    return run
