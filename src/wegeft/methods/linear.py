"""Methods that change linear layers: one thin wrapper of `nn.Linear`, and what the methods share around it.

A method gives each adapted layer a `LinearUpdate`, the object that knows the formula; layers may share one. The
wrapper only stands where the layer stood, asks the update for the output, and folds or unfolds it.

How the dtypes meet, here and nowhere else: the frozen weight is never cast in a forward pass. The method's parameters
(fp32 by default) are cast to the dtype of the activations, `cast_like`, the products accumulate in fp32 inside the
kernels, and `add_product` rounds once. Folding works in `wide_dtype` and rounds once to the weight's dtype.

Does not: handle several adapters per layer, other layer types than `nn.Linear`, or quantised weights.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from wegeft.errors import UserError
from wegeft.methods.base import Method, MethodConfig, match_modules


@dataclass(frozen=True)
class Site:
    """A linear layer to adapt: its full name, the entry of ``target_modules`` that named it, the layer."""

    name: str
    target: str
    base: nn.Linear


class LinearUpdate(nn.Module, ABC):
    """What a method does to a linear layer; holds the parameters, never the layer.

    Every function is given the frozen layer, because layers may share one update.
    """

    @abstractmethod
    def forward(self, base: nn.Linear, x_NI: Tensor) -> Tensor:
        """Output of the adapted layer for ``x_NI`` of shape (..., I), in its dtype: (..., O)."""

    @abstractmethod
    def merged(self, base: nn.Linear) -> tuple[Tensor, Tensor | None]:
        """(weight_OI, bias_O or None) of the plain layer that computes the same, in `wide_dtype`."""


class LowRankUpdate(LinearUpdate):
    """An update that is a LoRA once its factors are known: W' = W + B A, bias untouched."""

    @abstractmethod
    def lora_factors(self, base: nn.Linear) -> tuple[Tensor, Tensor]:
        """(A_RI, B_OR) with W' = W + B A in `wide_dtype`, scale folded into B."""

    def merged(self, base: nn.Linear) -> tuple[Tensor, Tensor | None]:
        """(W + B A, bias) in `wide_dtype`."""
        a_RI, b_OR = self.lora_factors(base)
        return torch.addmm(base.weight.to(b_OR.dtype), b_OR, a_RI), bias_of(base)


class AdaptedLinear(nn.Module):
    """Stands in the place of a linear layer: ``base`` frozen, ``update`` on top.

    The update is a plain attribute and not a submodule: it lives once in the method, however many layers share it.
    """

    update: LinearUpdate

    def __init__(self, base: nn.Linear, update: LinearUpdate) -> None:
        super().__init__()
        self.base = base
        object.__setattr__(self, "update", update)
        self._plain: tuple[nn.Parameter, nn.Parameter | None] | None = None

    def forward(self, x_NI: Tensor) -> Tensor:
        """(..., I) to (..., O)."""
        y_NO: Tensor = self.base(x_NI) if self.is_merged else self.update(self.base, x_NI)
        return y_NO

    @property
    def is_merged(self) -> bool:
        """Whether ``base`` holds the folded weight."""
        return self._plain is not None

    @torch.no_grad()
    def merge(self) -> None:
        """Fold the update into ``base``; the plain parameters are kept aside, so unmerging is exact."""
        if self.is_merged:
            return
        weight_OI, bias_O = self.update.merged(self.base)
        self._plain = self.base.get_parameter("weight"), bias_of(self.base)
        dtype = self.base.weight.dtype
        # New parameters, not new values: a weight tied to another module must not change there.
        self.base.weight = nn.Parameter(weight_OI.to(dtype), requires_grad=False)
        bias = None if bias_O is None else nn.Parameter(bias_O.to(dtype), requires_grad=False)
        self.base.register_parameter("bias", bias)

    def unmerge(self) -> None:
        """Put the plain parameters back."""
        if self._plain is not None:
            self.base.weight, bias = self._plain
            self.base.register_parameter("bias", bias)
            self._plain = None

    # Model code that asks a layer for its sizes or its weight gets the frozen layer's.
    @property
    def weight(self) -> Tensor:
        """The weight of ``base``, (O, I)."""
        return self.base.weight

    @property
    def bias(self) -> Tensor | None:
        """The bias of ``base``, (O,)."""
        return bias_of(self.base)

    @property
    def in_features(self) -> int:
        """I."""
        return self.base.in_features

    @property
    def out_features(self) -> int:
        """O."""
        return self.base.out_features


class LinearMethodConfig(MethodConfig):
    """Keys of every method on linear layers.

    Attributes:
        target_modules: names, or last parts of names, of the layers to adapt; ``*`` stands for one part of a name.
    """

    target_modules: tuple[str, ...] = Field(min_length=1)


class LinearMethod(Method):
    """A method that gives every linear layer named by ``target_modules`` an update; one per layer unless overridden."""

    config: LinearMethodConfig
    Config: ClassVar[type[MethodConfig]] = LinearMethodConfig
    updates: nn.ModuleDict
    _layers: dict[str, AdaptedLinear]

    @abstractmethod
    def build_update(self, sites: Sequence[Site]) -> LinearUpdate:
        """The update that ``sites`` share, on their device; `UserError` if it does not fit them."""

    def group_of(self, site: Site) -> str:
        """Name of the group whose members share one update."""
        return site.name

    def insert(self, backbone: nn.Module) -> None:
        """Freeze the backbone and wrap the layers."""
        groups: dict[str, list[Site]] = {}
        for site in self._sites(backbone):
            groups.setdefault(self.group_of(site), []).append(site)
        # Every update is built before the first layer is wrapped, so that an error leaves the backbone as it was.
        # A point would split the name of the module, hence the colon.
        updates = {name.replace(".", ":"): self.build_update(sites) for name, sites in groups.items()}
        backbone.requires_grad_(False)
        self.updates = nn.ModuleDict(updates)
        self._layers = {}
        for update, sites in zip(updates.values(), groups.values(), strict=True):
            for site in sites:
                self._layers[site.name] = AdaptedLinear(site.base, update)
                backbone.set_submodule(site.name, self._layers[site.name])

    def _sites(self, backbone: nn.Module) -> list[Site]:
        """The layers to adapt; those inside a task head are trained whole and need no update."""
        found = match_modules(backbone, self.config.target_modules, "method.target_modules", nn.Linear)
        sites = []
        for name, target in found.items():
            base = backbone.get_submodule(name)
            if isinstance(base, nn.Linear) and not self.in_head(name):
                sites.append(Site(name, target, base))
        return sites

    def detach(self) -> None:
        """Put the linear layers back into the backbone."""
        backbone = self.backbone
        super().detach()
        for name, layer in self._layers.items():
            backbone.set_submodule(name, layer.base)

    def merge(self) -> None:
        """Fold every update into its layer."""
        for layer in self._layers.values():
            layer.merge()

    def unmerge(self) -> None:
        """Put every plain weight back."""
        for layer in self._layers.values():
            layer.unmerge()

    @torch.no_grad()
    def lora_factors(self) -> dict[str, tuple[Tensor, Tensor]] | None:
        """``{module name: (A_RI, B_OR)}`` in `wide_dtype`, from the plain weights; None if no LoRA."""
        if any(layer.is_merged for layer in self._layers.values()):
            raise RuntimeError("factors are derived from the plain weights: unmerge first")
        factors = {}
        for name, layer in self._layers.items():
            if not isinstance(layer.update, LowRankUpdate):
                return None
            factors[name] = layer.update.lora_factors(layer.base)
        return factors


def check_rank(r: int, width: int, name: str) -> None:
    """Raise a `UserError` if ``r`` exceeds the ``width`` it acts on, where more rank adds nothing but parameters."""
    if r > width:
        raise UserError(f"method.r={r} is above the width of {name}; choose at most {width}.")


def bias_of(base: nn.Linear) -> nn.Parameter | None:
    """The bias of a layer; the annotations of torch leave out that there may be none."""
    bias: nn.Parameter | None = base._parameters["bias"]
    return bias


def cast_like(x: Tensor, *factors: Tensor) -> tuple[Tensor, ...]:
    """``factors`` in the dtype of the activations ``x``; nothing is copied if they agree."""
    return tuple(factor.to(x.dtype) for factor in factors)


def add_product(y_NO: Tensor, code_NR: Tensor, b_OR: Tensor) -> Tensor:
    """Add code Bᵀ to y, of shapes (..., R), (O, R) and (..., O), in one kernel that rounds once."""
    return torch.addmm(y_NO.flatten(0, -2), code_NR.flatten(0, -2), b_OR.T).view_as(y_NO)


def wide_dtype(weight: Tensor) -> torch.dtype:
    """The precision in which ``weight`` is folded: fp64 for fp32 and fp64, fp32 for anything shorter."""
    return torch.float32 if weight.dtype.itemsize < torch.float32.itemsize else torch.float64


def uniform(shape: tuple[int, int], fan_in: int, device: torch.device, dtype: torch.dtype) -> nn.Parameter:
    """Kaiming-uniform with a=√5, which is U(±1/√fan_in).

    Drawn in fp32 from the CPU's generator, so that one seed gives the same factors on every device.
    """
    if device.type == "meta":
        return nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
    bound = fan_in**-0.5
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound).to(device, dtype))


def zeros(shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> nn.Parameter:
    """A factor that starts at zero."""
    return nn.Parameter(torch.zeros(shape, device=device, dtype=dtype))
