"""Methods that change linear layers: one thin wrapper, and what the methods share around it.

A method gives each adapted layer a `LinearUpdate`, the object that knows the formula; layers may share one. The
wrapper only stands where the layer stood, asks the update for the output, and folds or unfolds it.

How the dtypes meet, here and nowhere else: the frozen weight is never cast in a forward pass. The method's parameters
(fp32 by default) are cast to the dtype of the activations, `cast_like`; of a scale near one, what it exceeds one by is
cast. The products accumulate in fp32 inside the kernels, and `add_product` of `wegeft.products` rounds once to what is
shorter. Folding works in `wide_dtype` and rounds once to the weight's dtype.

Does not: know how a layer stores its weight (`wegeft.methods.frozen` does), or let two methods act on a layer at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from wegeft.errors import UserError
from wegeft.methods.base import MethodConfig, match_names
from wegeft.methods.frozen import Frozen, parts_of, view_of
from wegeft.methods.wrapping import Wrapper, WrappingMethod


@dataclass(frozen=True)
class Site:
    """A linear layer to adapt, or a part of a fused one.

    Attributes:
        name: full name of the layer, or of the part.
        target: the entry of ``target_modules`` that named it.
        base: how methods see it.
        layer_name: full name of the module.
    """

    name: str
    target: str
    base: Frozen
    layer_name: str


class LinearUpdate(nn.Module, ABC):
    """What a method does to a linear layer; holds the parameters, never the layer.

    Every function is given the frozen layer, because layers may share one update.
    """

    @abstractmethod
    def forward(self, base: Frozen, x_NI: Tensor) -> Tensor:
        """Output of the adapted layer for ``x_NI`` of shape (..., I), in its dtype: (..., O)."""

    @abstractmethod
    def merged(self, base: Frozen) -> tuple[Tensor, Tensor | None]:
        """(weight_OI, bias_O or None) of the plain layer that computes the same, in `wide_dtype`."""


class LowRankUpdate(LinearUpdate):
    """An update that is a LoRA once its factors are known: W' = W + B A, bias untouched."""

    @abstractmethod
    def lora_factors(self, base: Frozen) -> tuple[Tensor, Tensor]:
        """(A_RI, B_OR) with W' = W + B A in `wide_dtype`, scale folded into B."""

    def merged(self, base: Frozen) -> tuple[Tensor, Tensor | None]:
        """(W + B A, bias) in `wide_dtype`."""
        a_RI, b_OR = self.lora_factors(base)
        return torch.addmm(base.weight.to(b_OR.dtype), b_OR, a_RI), base.bias


@dataclass(frozen=True)
class Part:
    """A block of output rows of a layer, usually all of them, and its update; None leaves it as it is."""

    base: Frozen
    update: LinearUpdate | None

    def __call__(self, x_NI: Tensor) -> Tensor:
        """(..., I) to (..., O)."""
        y_NO: Tensor = self.base(x_NI) if self.update is None else self.update(self.base, x_NI)
        return y_NO

    def merged(self) -> tuple[Tensor, Tensor | None]:
        """(weight_OI, bias_O or None) of the plain layer that computes the same."""
        if self.update is None:
            return self.base.weight.to(wide_dtype(self.base.weight)), self.base.bias
        return self.update.merged(self.base)


class AdaptedLinear(Wrapper):
    """Stands in the place of a linear layer: ``base`` frozen, one update on top, or one per part of its rows.

    Updates are not submodules: each lives once in the method, however many layers share it.
    """

    def __init__(self, view: Frozen, parts: Sequence[Part]) -> None:
        super().__init__(view.layer)
        self.view = view
        self.parts = tuple(parts)

    def forward(self, x_NI: Tensor) -> Tensor:
        """(..., I) to (..., O)."""
        if self.view.is_folded:
            return self.view(x_NI)
        outputs = [part(x_NI) for part in self.parts]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)

    @torch.no_grad()
    def merge(self) -> None:
        """Fold the updates into ``base``; twice is the same as once."""
        if self.view.is_folded:
            return
        weights, biases = zip(*(part.merged() for part in self.parts), strict=True)
        bias_O = None
        if any(bias is not None for bias in biases):
            pairs = zip(weights, biases, strict=True)
            bias_O = torch.cat([w.new_zeros(w.shape[0]) if bias is None else bias.to(w.dtype) for w, bias in pairs])
        self.view.fold(torch.cat(weights), bias_O)

    def unmerge(self) -> None:
        """Give ``base`` its own parameters back, bit for bit."""
        self.view.unfold()

    # Model code that asks a layer for its sizes or its weight gets the frozen layer's.
    @property
    def weight(self) -> Any:
        """The weight of ``base``, as it stores it."""
        return self.base.weight

    @property
    def bias(self) -> Any:
        """The bias of ``base``."""
        return self.base.bias

    @property
    def in_features(self) -> int:
        """I."""
        return self.view.in_features

    @property
    def out_features(self) -> int:
        """O."""
        return self.view.out_features


class LinearMethodConfig(MethodConfig):
    """Keys of every method on linear layers.

    Attributes:
        target_modules: names, or last parts of names, of the layers to adapt; ``*`` stands for one part of a name. The
            parts of a fused projection have names too, e.g. ``attn.qkv.v``.
    """

    target_modules: tuple[str, ...] = Field(min_length=1)


class LinearMethod(WrappingMethod):
    """A method that gives every linear layer named by ``target_modules`` an update; one per layer unless overridden."""

    config: LinearMethodConfig
    Config: ClassVar[type[MethodConfig]] = LinearMethodConfig
    updates: nn.ModuleDict
    _wrappers: Mapping[str, AdaptedLinear]
    _sites: list[Site]

    @abstractmethod
    def build_update(self, sites: Sequence[Site]) -> LinearUpdate:
        """The update that ``sites`` share, on their device; `UserError` if it does not fit them."""

    def group_of(self, site: Site) -> str:
        """Name of the group whose members share one update."""
        return site.name

    def insert(self, backbone: nn.Module) -> None:
        """Freeze the backbone and prepare the layers that will stand in it."""
        views = {name: view for name, module in backbone.named_modules() if (view := view_of(module))}
        sites = self._find_sites(views)
        groups: dict[str, list[Site]] = {}
        for site in sites:
            groups.setdefault(self.group_of(site), []).append(site)
        updates = {name: self.build_update(members) for name, members in groups.items()}
        by_site = {site.name: updates[self.group_of(site)] for site in sites}
        backbone.requires_grad_(False)
        # A point would split the name of the module, hence the colon.
        self.updates = nn.ModuleDict({name.replace(".", ":"): update for name, update in updates.items()})
        self.mergeable = not any(site.base.is_quantised for site in sites)
        self._sites = sites
        self._wrappers = {site.layer_name: _adapted(site.layer_name, views[site.layer_name], by_site) for site in sites}

    @property
    def sites(self) -> tuple[Site, ...]:
        """The adapted layers and parts, in the order of the backbone."""
        return tuple(self._sites)

    def update_of(self, site: Site) -> LinearUpdate:
        """The update of one of `sites`."""
        update = self.updates[self.group_of(site).replace(".", ":")]
        assert isinstance(update, LinearUpdate)
        return update

    def _find_sites(self, views: Mapping[str, Frozen]) -> list[Site]:
        """The layers and parts to adapt; those inside a task head are trained whole and need no update."""
        found = {name: (view, name) for name, view in views.items()}
        for name, view in views.items():
            found |= {part_name: (part, name) for part_name, part in parts_of(name, view).items()}
        targets = match_names(found, self.config.target_modules, "method.target_modules")
        sites = [Site(name, target, *found[name]) for name, target in targets.items() if not self.in_head(name)]
        for site in sites:
            if site.name != site.layer_name and site.layer_name in targets:
                raise UserError(f"method.target_modules names both {site.layer_name} and its part {site.name}.")
        return sites

    def merge(self) -> None:
        """Fold every update into its layer.

        Raises:
            UserError: a layer is quantised; rounding the folded weight to its few bits would lose the update.
        """
        if not self.mergeable:
            raise UserError("A quantised backbone cannot take the method into its weights: set evaluation.merge=false.")
        for layer in self._wrappers.values():
            layer.merge()

    def unmerge(self) -> None:
        """Give every layer its plain weight back."""
        for layer in self._wrappers.values():
            layer.unmerge()

    @torch.no_grad()
    def lora_factors(self) -> dict[str, tuple[Tensor, Tensor]] | None:
        """``{name of layer or part: (A_RI, B_OR)}`` in `wide_dtype`, from the plain weights; None if no LoRA."""
        if any(layer.view.is_folded for layer in self._wrappers.values()):
            raise RuntimeError("factors are derived from the plain weights: unmerge first")
        factors = {}
        for site in self._sites:
            update = self.update_of(site)
            if not isinstance(update, LowRankUpdate):
                return None
            factors[site.name] = update.lora_factors(site.base)
        return factors


def _adapted(name: str, view: Frozen, updates: Mapping[str, LinearUpdate]) -> AdaptedLinear:
    """The layer that stands in the place of ``name``, with the updates of it or of its parts."""
    if name in updates:
        return AdaptedLinear(view, [Part(view, updates[name])])
    return AdaptedLinear(view, [Part(part, updates.get(key)) for key, part in parts_of(name, view).items()])


def check_rank(r: int, width: int, name: str) -> None:
    """Raise a `UserError` if ``r`` exceeds the ``width`` it acts on, where more rank adds nothing but parameters."""
    if r > width:
        raise UserError(f"method.r={r} is above the width of {name}; choose at most {width}.")


def cast_like(x: Tensor, *factors: Tensor) -> tuple[Tensor, ...]:
    """``factors`` in the dtype and on the device of the activations ``x``; nothing is copied if they agree."""
    return tuple(factor.to(x) for factor in factors)


def compute_dtype(x: Tensor) -> torch.dtype:
    """The dtype in which a linear layer computes on ``x``: that of `torch.autocast` where it is on, else its own."""
    device = x.device.type
    if x.dtype != torch.float64 and torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return x.dtype


def without_autocast(x: Tensor) -> AbstractContextManager[object]:
    """What `torch.autocast` would shorten on the device of ``x`` keeps its dtype within."""
    device = x.device.type
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def scale_and_shift(y: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Scale and shift y, in its dtype: scale ⊙ y + shift.

    Of a dtype shorter than fp32 scale - 1 is rounded, not the scale: near one the steps of bf16 are 0.4 to 0.8 %.
    """
    if y.dtype.itemsize >= torch.float32.itemsize:  # one pass over y instead of two
        shift, scale = cast_like(y, shift, scale)
        return torch.addcmul(shift, y, scale)
    excess, shift = cast_like(y, scale - 1, shift)
    return y + torch.addcmul(shift, y, excess)


def wide_dtype(weight: Tensor) -> torch.dtype:
    """The precision in which ``weight`` is folded: fp64 for fp32 and fp64, fp32 for anything shorter."""
    return torch.float32 if weight.dtype.itemsize < torch.float32.itemsize else torch.float64


def uniform(shape: tuple[int, int], fan_in: float, device: torch.device, dtype: torch.dtype) -> nn.Parameter:
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
