"""Full fine-tuning: every weight of the backbone is trained, W' = W + ΔW with ΔW free."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from wegeft.methods.base import Method, MethodConfig


class Full(Method):
    """Train all parameters, with fp32 copies of shorter ones (``training.fp32_masters``); merging is the identity."""

    Config: ClassVar[type[MethodConfig]] = MethodConfig

    def insert(self, backbone: nn.Module) -> None:
        """Make every parameter trainable."""
        backbone.requires_grad_(True)

    def disable(self) -> None:
        """Refuse: the plain weights are no more."""
        raise RuntimeError("full fine-tuning leaves no plain backbone to go back to")
