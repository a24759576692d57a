"""Backbones: the frozen network a method attaches to, with its tokenizer or transform.

:func:`skeleton` builds the architecture without weights (meta device), for plans and for checking a method against a
backbone before anything is loaded; :func:`outline` adds its tokenizer or transform, for checking a task; :func:`load`
builds the real one. What a family of backbones needs lives in the
module of its name (``causal_lm.py`` …), so a new family is a new file.

Does not: adapt, train or evaluate anything.
"""

import importlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from wegeft.config import ModelConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import Tensor, nn


COMMIT = "commit"
"""Key of :func:`content_hashes` under which a hub id has its commit."""


@dataclass(frozen=True)
class Backbone:
    """A network and what turns raw examples into its inputs (a tokenizer for text, a transform for images)."""

    model: "nn.Module"
    processor: Any
    config: ModelConfig


def _family(config: ModelConfig) -> Any:
    return importlib.import_module(f"wegeft.models.{config.family}")


def skeleton(config: ModelConfig) -> "nn.Module":
    """The architecture on the meta device: shapes and names, no storage, no network.

    Raises:
        UserError: ``model.source`` has no readable architecture and none is given in the config.
    """
    model: nn.Module = _family(config).skeleton(config)
    return model


def outline(config: ModelConfig) -> Backbone:
    """The architecture without weights and what reads for it: all that a task needs to be prepared.

    Raises:
        UserError: as :func:`skeleton`, or a tokenizer that is missing or damaged.
    """
    model = skeleton(config)
    return Backbone(model, _family(config).processor(config, model), config)


def load(config: ModelConfig, device: "torch.device") -> Backbone:
    """The backbone with its weights on ``device`` in ``config.dtype``.

    ``weights=random`` draws them from torch's global generator, so seed it first.

    Raises:
        UserError: the weights or the tokenizer cannot be had; the sentence says what was looked for.
    """
    backbone = load_unread(config, device)
    return replace(backbone, processor=_family(config).processor(config, backbone.model))


def load_unread(config: ModelConfig, device: "torch.device") -> Backbone:
    """:func:`load` without what turns examples into inputs, which measurements of cost do not need."""
    if config.quantise is None:
        return Backbone(_family(config).load(config, device), None, config)
    import torch

    from wegeft.models.quantised import quantise

    # By way of the host's memory, so that the device never holds the unquantised weights.
    model = _family(config).load(config, torch.device("cpu"))
    quantise(model, config, device)
    return Backbone(model, None, config)


def content_hashes(config: ModelConfig) -> dict[str, str]:
    """What the backbone is made of, see `wegeft.models.contents.content_hashes`."""
    from wegeft.models import contents

    return contents.content_hashes(config)


def probe(backbone: Backbone, tokens: int) -> "Callable[[nn.Module], torch.Tensor]":
    """A pass through a network like ``backbone`` on a fixed batch of ``tokens`` positions, for cost measurements.

    The function returned runs any copy of the network to its last hidden state; the input wants a gradient.
    """
    run: Callable[[nn.Module], torch.Tensor] = _family(backbone.config).probe(backbone.model, tokens)
    return run


def made_up_loss(config: ModelConfig, model: "nn.Module", sequences: int, length: int, labels: int) -> "Tensor | None":
    """A training loss of ``model`` on made-up input: what a step computes, for estimates of its cost.

    Args:
        config: the model's.
        model: a backbone, adapted or not, on the meta device or any other.
        sequences: examples at once.
        length: positions of each (ignored where the architecture fixes it).
        labels: positions that are predicted, over all examples.

    Returns:
        A scalar, or None of a family whose module has no ``made_up_loss``: its runs are counted, not estimated.
    """
    function = getattr(_family(config), "made_up_loss", None)
    return None if function is None else function(model, sequences, length, labels)


def depth_key(config: ModelConfig) -> str:
    """The key of ``config.architecture`` that says how many blocks there are."""
    key: str = _family(config).DEPTH
    return key


def count_parameters(model: "nn.Module") -> int:
    """Number of parameters of ``model``; one that is used in several places counts once, a packed one unpacked."""
    from wegeft.models.quantised import values_of

    return sum(values_of(parameter) for parameter in model.parameters())
