"""SSF: a scale and a shift after every operation of a vision transformer (Lian et al., arXiv 2210.08823).

y = γ ⊙ x + β per channel, after the patch embedding, every norm and every linear layer. γ starts at N(1, 0.02²) and β
at N(0, 0.02²), as in dongzelian/SSF, so the backbone does not start unchanged. Both fold into the operation before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from wegeft.methods.base import MethodConfig, match_names
from wegeft.methods.frozen import move_like
from wegeft.methods.linear import scale_and_shift, wide_dtype
from wegeft.methods.wrapping import Wrapper, WrappingMethod

STD = 0.02
OPERATIONS = (nn.Linear, nn.LayerNorm, nn.Conv2d)
"""Modules that end in a weight and a bias per channel; others that a target names (identities) are passed over."""


class SSFConfig(MethodConfig):
    """Keys of SSF.

    Attributes:
        target_modules: names, or last parts of names, of the operations that are followed by a scale and a shift.
    """

    target_modules: tuple[str, ...] = Field(min_length=1)


class ScaleShift(nn.Module):
    """γ and β of one operation, each (C,)."""

    def __init__(self, channels: int, device: torch.device) -> None:
        super().__init__()
        self.scale_C = _normal(channels, 1.0, device)
        self.shift_C = _normal(channels, 0.0, device)


class Rescaled(Wrapper):
    """An operation with its scale and shift."""

    def __init__(self, base: nn.Module, update: ScaleShift) -> None:
        super().__init__(base)
        self._update = (update,)  # in a tuple, so that it is no submodule: it lives in the method
        self._plain: tuple[nn.Parameter, nn.Parameter | None] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """As the operation, scaled and shifted; channels are the last dimension, or those of a convolution."""
        y: Tensor = self.base(x)
        if self._plain is not None:
            return y
        scale_C: Tensor = self._update[0].scale_C
        shift_C: Tensor = self._update[0].shift_C
        if isinstance(self.base, nn.Conv2d):
            scale_C, shift_C = scale_C[:, None, None], shift_C[:, None, None]
        return scale_and_shift(y, scale_C, shift_C)

    @torch.no_grad()
    def merge(self) -> None:
        """Fold γ and β into the weight and the bias of the operation; twice is the same as once."""
        if self._plain is not None:
            return
        weight, bias = self._plain = _parameters_of(self.base)
        dtype = wide_dtype(weight)
        scale_C, shift_C = self._update[0].scale_C.to(dtype), self._update[0].shift_C.to(dtype)
        folded_C = shift_C if bias is None else torch.addcmul(shift_C, scale_C, bias.to(dtype))
        folded = weight.to(dtype) * scale_C.view(-1, *(1 for _ in weight.shape[1:]))
        self._set(*(nn.Parameter(value.to(weight.dtype), requires_grad=False) for value in (folded, folded_C)))

    def unmerge(self) -> None:
        """Give the operation its own parameters back."""
        if self._plain is not None:
            move_like(_parameters_of(self.base)[0], self._plain)
            self._set(*self._plain)
            self._plain = None

    def _set(self, weight: nn.Parameter, bias: nn.Parameter | None) -> None:
        self.base.register_parameter("weight", weight)
        self.base.register_parameter("bias", bias)


class SSF(WrappingMethod):
    """One scale and one shift per operation."""

    Config: ClassVar[type[MethodConfig]] = SSFConfig
    config: SSFConfig
    families: ClassVar[frozenset[str]] = frozenset({"image_classifier"})
    identity_at_init = False
    _wrappers: Mapping[str, Rescaled]

    def insert(self, backbone: nn.Module) -> None:
        """Freeze the backbone and prepare the operations that will stand in it."""
        modules = dict(backbone.named_modules())
        names = match_names(modules, self.config.target_modules, "method.target_modules")
        sites = [name for name in names if isinstance(modules[name], OPERATIONS) and not self.in_head(name)]
        backbone.requires_grad_(False)
        updates = {name: _scale_shift(modules[name]) for name in sites}
        # A point would split the name of the module, hence the colon.
        self.updates = nn.ModuleDict({name.replace(".", ":"): update for name, update in updates.items()})
        self._wrappers = {name: Rescaled(modules[name], update) for name, update in updates.items()}

    def merge(self) -> None:
        """Fold every scale and shift into its operation."""
        for wrapper in self._wrappers.values():
            wrapper.merge()

    def unmerge(self) -> None:
        """Give every operation its own parameters back."""
        for wrapper in self._wrappers.values():
            wrapper.unmerge()


def _scale_shift(operation: nn.Module) -> ScaleShift:
    weight, _ = _parameters_of(operation)
    return ScaleShift(weight.shape[0], weight.device)


def _parameters_of(operation: nn.Module) -> tuple[nn.Parameter, nn.Parameter | None]:
    """Weight and bias."""
    return operation.get_parameter("weight"), dict(operation.named_parameters()).get("bias")


def _normal(channels: int, mean: float, device: torch.device) -> nn.Parameter:
    """N(mean, 0.02²), drawn on the CPU, so that one seed gives the same values on every device."""
    if device.type == "meta":
        return nn.Parameter(torch.empty(channels, device=device))
    return nn.Parameter(torch.normal(mean, STD, (channels,)).to(device))
