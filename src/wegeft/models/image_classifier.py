"""Vision transformers through timm, with a new head as wide as the task has classes.

Weights are safetensors: of a hub repository, of a folder that also holds a ``config.json`` (timm's format:
``architecture`` and ``model_args``), of one file, or of a packaged backbone. A head in them is left out, so that every
task starts from a head of its own.

Does not: know images (the task resizes and normalises), or read pickled weights.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from wegeft.config import ModelConfig
from wegeft.errors import UserError
from wegeft.models.hub import hub_file
from wegeft.models.packaged import packaged_folder
from wegeft.schema import TARGET_KEY, load_class

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

WEIGHTS, ARCHITECTURE = "model.safetensors", "config.json"
DEPTH = "depth"
"""See `wegeft.models.depth_key`."""


@dataclass(frozen=True)
class ImageInput:
    """What the network sees.

    Attributes:
        size: side of the square image, in pixels.
        positions: length of the sequence it becomes, class token included.
    """

    size: int
    positions: int


def skeleton(config: ModelConfig) -> nn.Module:
    """The architecture on the meta device."""
    with torch.device("meta"):
        return _build(config)


def load(config: ModelConfig, device: torch.device) -> nn.Module:
    """Model in ``config.dtype`` on ``device``."""
    model = _build(config)
    if config.weights == "pretrained":
        _fill(model, _file_of(config, WEIGHTS), config)
    return model.to(device, getattr(torch, config.dtype)).eval()


def processor(config: ModelConfig, model: nn.Module) -> ImageInput:
    """What ``model`` takes as input."""
    del config
    embed: Any = model.patch_embed
    prefix: Any = model.num_prefix_tokens
    return ImageInput(embed.img_size[0], embed.num_patches + prefix)


def probe(model: Any, tokens: int) -> "Callable[[Any], Tensor]":
    """A pass of as many images as make up ``tokens`` positions, to the last hidden state, see `wegeft.models.probe`."""
    embed = model.patch_embed
    images = -(-tokens // (embed.num_patches + model.num_prefix_tokens))
    weight = embed.proj.weight
    x_BCHW = torch.randn(images, weight.shape[1], *embed.img_size).to(weight).requires_grad_()

    def run(network: Any) -> Tensor:
        hidden_BLD: Tensor = network.forward_features(x_BCHW)
        return hidden_BLD

    return run


def made_up_loss(model: nn.Module, sequences: int, length: int, labels: int) -> Tensor:
    """Cross-entropy of ``sequences`` made-up images of the architecture's own size; see ``models.made_up_loss``."""
    del length, labels  # an image has the positions that the architecture gives it, and one label
    embed: Any = model.patch_embed
    weight = next(model.parameters())
    images_BCHW = torch.zeros(sequences, 3, *embed.img_size, dtype=weight.dtype, device=weight.device)
    classes_B = torch.zeros(sequences, dtype=torch.int64, device=weight.device)
    return nn.functional.cross_entropy(model(images_BCHW).float(), classes_B)


def _build(config: ModelConfig) -> nn.Module:
    """The architecture that the YAML states, else the one beside the weights."""
    import timm

    if config.classes is None:
        raise UserError("model.classes is not set: an image classifier takes the width of its head from task.classes.")
    stated = dict(config.architecture or _read_architecture(config))
    options: dict[str, Any] = {"num_classes": config.classes, "drop_path_rate": config.drop_path}
    if TARGET_KEY in stated:
        model: nn.Module = load_class(stated.pop(TARGET_KEY), "model.architecture._target_")(**stated, **options)
        return model
    name = stated.pop("name", None)
    if not isinstance(name, str) or not timm.is_model(name):
        raise UserError(f"model.architecture.name={name}: timm knows no such model.")
    model = timm.create_model(name, pretrained=False, **stated, **options)
    return model


def _read_architecture(config: ModelConfig) -> dict[str, Any]:
    """The ``config.json`` beside the weights, as the YAML would state it."""
    path = _file_of(config, ARCHITECTURE)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        name, arguments = found["architecture"], dict(found.get("model_args") or {})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} states no `architecture`: {error}.") from error
    return {TARGET_KEY if "." in name and name.startswith("wegeft.") else "name": name, **arguments}


def _file_of(config: ModelConfig, name: str) -> Path:
    """The file ``name`` of ``config.source``, fetched from the hub if need be."""
    folder = packaged_folder(config.source) or Path(config.source).expanduser()
    if folder.is_file():
        folder = folder if name == WEIGHTS else folder.parent
    path = folder if folder.is_file() else folder / name
    if path.is_file():
        return path
    if folder.is_dir() or config.source.startswith(("/", ".", "~")):
        raise UserError(f"model.source={config.source}: {path} does not exist.")
    return hub_file(config, name)


def _fill(model: nn.Module, path: Path, config: ModelConfig) -> None:
    """Give ``model`` the weights in ``path``, all but the head's; UserError if they are another model's."""
    from safetensors.torch import load_file

    try:
        state: Mapping[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise UserError(f"{path} is not a safetensors file: {error}.") from error
    from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn

    if isinstance(model, VisionTransformer):  # positions are resampled to another image size
        state = checkpoint_filter_fn(dict(state), model)
    heads = tuple(f"{head}." for head in config.head_modules)
    body = {name: value for name, value in state.items() if not name.startswith(heads)}
    wanted = {name: value for name, value in model.state_dict().items() if not name.startswith(heads)}
    wrong = sorted(wanted.keys() ^ body.keys()) or [n for n, v in wanted.items() if v.shape != body[n].shape]
    if wrong:
        raise UserError(f"{path} does not fit the architecture of model={config.name}: {', '.join(wrong[:3])} differ.")
    model.load_state_dict(body, strict=False)
