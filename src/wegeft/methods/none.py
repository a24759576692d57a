"""No method: the backbone as it is. With a task head (classification) this is linear probing."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from wegeft.methods.base import Method, MethodConfig


class Frozen(Method):
    """Train nothing but the task heads, if there are any."""

    Config: ClassVar[type[MethodConfig]] = MethodConfig

    def insert(self, backbone: nn.Module) -> None:
        """Freeze every parameter."""
        backbone.requires_grad_(False)


class LinearProbe(Frozen):
    """The same by the name it has on backbones with a task head, which is all that is trained."""

    families: ClassVar[frozenset[str]] = frozenset({"sequence_classifier", "image_classifier"})
