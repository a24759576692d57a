"""What every method can do, whatever it is: attach, say what it trains, save, load, merge, leave.

Does not: train, choose a learning rate, move data, or know any particular method.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from wegeft.errors import UserError
from wegeft.schema import Strict

ALL_FAMILIES: frozenset[str] = frozenset({"causal_lm", "sequence_classifier", "image_classifier"})
HEADS_KEY = "model.head_modules"


class MethodConfig(Strict):
    """Keys that every method has.

    Attributes:
        name: how records and tables call the method.
        learning_rates: the learning rate of each scale; `configs/training` reads the one of the run's scale.
        vision_learning_rates: the same on images, where that differs.
    """

    name: str
    learning_rates: dict[str, float]
    vision_learning_rates: dict[str, float] = Field(default_factory=dict)


class Method(nn.Module, ABC):
    """A way of adapting a frozen backbone; owns the parameters that it adds.

    Life of a method: ``attach`` once, train ``trainable()``, ``merge`` for evaluation, ``unmerge`` to train on,
    ``disable`` and ``enable`` to take turns with the plain backbone or another method, ``detach`` to leave. Methods
    with an objective of their own override ``extra_loss``; methods that change something between optimiser steps
    override ``after_step``.

    Attributes:
        Config: model of the method's node in the configuration.
        families: kinds of backbone that it works on.
        identity_at_init: the adapted backbone computes exactly what the plain one does until the first step.
        mergeable: ``merge`` leaves a backbone of the plain architecture that computes the same function.
    """

    Config: ClassVar[type[MethodConfig]]
    families: ClassVar[frozenset[str]] = ALL_FAMILIES
    identity_at_init: bool = True
    mergeable: bool = True
    _backbone: nn.Module | None
    _heads: tuple[str, ...]

    def __init__(self, config: MethodConfig) -> None:
        super().__init__()
        self.config = config
        object.__setattr__(self, "_backbone", None)
        self._heads = ()

    @property
    def backbone(self) -> nn.Module:
        """The backbone this method is attached to."""
        if self._backbone is None:
            raise RuntimeError("the method is not attached to a backbone")
        return self._backbone

    @property
    def is_enabled(self) -> bool:
        """Whether this method is at work in its backbone."""
        return getattr(self.backbone, "adapter", None) is self

    def attach(self, backbone: nn.Module, head_modules: Sequence[str] = ()) -> None:
        """Freeze ``backbone`` in place, insert the method, and make the task heads trainable.

        The method becomes the submodule ``backbone.adapter``, so that moving, wrapping or sharding the backbone takes
        it along. Works on the meta device, where it allocates nothing.

        Args:
            backbone: a plain model; it is changed in place.
            head_modules: names (or last parts of names) of the modules that a task trains besides the method.

        Raises:
            UserError: a module that does not exist, or a size that does not fit; the backbone is left as it was.
        """
        if self._backbone is not None or hasattr(backbone, "adapter"):
            raise RuntimeError("a method attaches to one backbone once, and one method at a time works in a backbone")
        self._heads = tuple(match_names([name for name, _ in backbone.named_modules()], head_modules, HEADS_KEY))
        self.insert(backbone)
        # The backbone owns the method; the way back is a plain reference, or parameters would be counted in a circle.
        object.__setattr__(self, "_backbone", backbone)
        self.enable()
        for name in self._heads:
            backbone.get_submodule(name).requires_grad_(True)

    @abstractmethod
    def insert(self, backbone: nn.Module) -> None:
        """Freeze ``backbone`` and build what goes into it; raise before the first change if something does not fit."""

    def enable(self) -> None:
        """Let the method work in the backbone again after `disable`.

        Several methods can share a backbone by taking turns: attach one, disable it, attach the next.
        """
        if hasattr(self.backbone, "adapter"):
            raise RuntimeError("another method is at work in the backbone: disable it first")
        self.backbone.add_module("adapter", self)

    def disable(self) -> None:
        """Give the plain backbone back, without forgetting anything; costs nothing at run time."""
        del self.backbone.adapter

    def detach(self) -> None:
        """Leave the backbone as a plain, frozen model. Weights that are merged stay merged."""
        if self.is_enabled:
            del self.backbone.adapter
        self.backbone.requires_grad_(False)
        object.__setattr__(self, "_backbone", None)

    def trainable(self) -> dict[str, nn.Parameter]:
        """Parameters that receive gradients, heads included, by their names in the backbone; shared ones once."""
        return {name: p for name, p in self.backbone.named_parameters() if p.requires_grad}

    def parameter_count(self) -> int:
        """Number of trainable values without the task heads, as the papers count."""
        return sum(p.numel() for name, p in self.trainable().items() if not self.in_head(name))

    def in_head(self, name: str) -> bool:
        """Whether the parameter or module ``name`` of the backbone belongs to a task head."""
        return any(name == head or name.startswith(f"{head}.") for head in self._heads)

    def adapter_state(self) -> dict[str, Tensor]:
        """Everything that the backbone needs to be adapted again, by name; shared factors once, no copies."""
        return {name: p.detach() for name, p in self.trainable().items()}

    def load_adapter_state(self, state: Mapping[str, Tensor]) -> None:
        """Copy ``state``, as `adapter_state` gave it, into the attached method; what is merged is unmerged first.

        Raises:
            UserError: a name or a shape differs.
        """
        own = self.adapter_state()
        check_state(own, state)
        self.unmerge()
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(state[name])

    def merge(self) -> None:
        """Fold the method into the backbone's weights; twice is the same as once."""

    def unmerge(self) -> None:
        """Undo `merge`, bit for bit."""

    def lora_factors(self) -> dict[str, tuple[Tensor, Tensor]] | None:
        """``{module name: (A_RI, B_OR)}`` with W' = W + B A, scale folded into B; None for what is no LoRA."""
        return None

    def extra_loss(self) -> Tensor | None:
        """A term that the method adds to the loss of a step, a scalar; None for most."""
        return None

    def several_passes(self, passes: int) -> AbstractContextManager[None]:
        """Stays entered for the ``passes`` forward passes of one optimiser step, and their backward passes.

        What depends on the parameters alone can be computed once in it. Gradients are complete after it, and nothing
        of the passes is held any more, even if one broke off.
        """
        del passes
        return nullcontext()

    def after_step(self) -> None:
        """Called after every optimiser step."""


def match_names(names: Iterable[str], targets: Sequence[str], key: str) -> dict[str, str]:
    """``{name: target}`` of the modules that ``targets`` name, in the order of ``names``.

    A target names every module whose full name is, or ends with ``.`` and, the target; ``*`` stands for one part of
    a name. The first target that fits a module is the one reported.

    Raises:
        UserError: a target that names none; the sentence starts with ``key`` and lists what there is.
    """
    names = list(names)
    patterns = {target: _pattern(target) for target in targets}
    for target, pattern in patterns.items():
        if not any(pattern.fullmatch(name) for name in names):
            raise UserError(f"{key}={target} is not in the backbone; it has {_choices(names)}.")
    found = {name: next((t for t, p in patterns.items() if p.fullmatch(name)), None) for name in names}
    return {name: target for name, target in found.items() if target is not None}


def _pattern(target: str) -> re.Pattern[str]:
    return re.compile(r"(?:.*\.)?" + re.escape(target).replace(r"\*", r"[^.]+"))


def _choices(names: Iterable[str]) -> str:
    """The last parts of ``names``, each once; numbers (positions in a list of layers) say nothing."""
    last = {name.rpartition(".")[2] for name in names}
    return ", ".join(sorted(part for part in last if part and not part.isdigit()))


def check_state(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Raise a `UserError` unless ``state`` has the names and shapes of ``own``."""
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or unknown:
        raise UserError(
            f"The adapter does not fit this method and backbone: it lacks {missing[:3] or 'nothing'} "
            f"and has {unknown[:3] or 'nothing'} besides."
        )
    for name, value in own.items():
        if value.shape != state[name].shape:
            raise UserError(
                f"The adapter does not fit this method and backbone: {name} has shape {tuple(state[name].shape)} "
                f"instead of {tuple(value.shape)}."
            )
