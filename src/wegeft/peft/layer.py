"""A linear layer with WeGeFT adapters, as PEFT's tuner layers are."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
from peft.tuners.tuners_utils import BaseTunerLayer, check_adapters_to_merge
from torch import Tensor, nn

from wegeft.methods.frozen import view_of
from wegeft.methods.wegeft import WeGeFTUpdate

NO_MIXING = "WeGeFT does not mix adapters within a batch: leave adapter_names out and choose one by set_adapter."


class WeGeFTLinear(nn.Module, BaseTunerLayer):
    """Stands in the place of ``base_layer``; may own the factors of an adapter or use those of another layer.

    The first layer of a group owns: its factors are in its state and are saved, once. The others refer to it, so a
    sharding scheme that empties the owner between its own forward passes cannot run them. PEFT knows by "Linear" in the
    name of the class that ``all-linear`` means this layer too.
    """

    adapter_layer_names = ("wegeft_update",)
    other_param_names = ("wegeft_owner",)

    def __init__(self, base_layer: nn.Module, adapter_name: str) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.wegeft_update = nn.ModuleDict()
        self.wegeft_owner: dict[str, WeGeFTLinear] = {}  # a plain dict, which registers nothing
        self._disable_adapters = False
        self.merged_adapters: list[str] = []
        self._active_adapter = adapter_name
        view = view_of(self.get_base_layer())
        if view is None:
            raise TypeError(f"WeGeFT adapts linear layers, not {type(self.get_base_layer()).__name__}.")
        self.view = view
        self.in_features, self.out_features = view.in_features, view.out_features

    def own(self, adapter_name: str, update: WeGeFTUpdate) -> None:
        """Hold the factors of an adapter."""
        self.wegeft_update[adapter_name] = update
        self.wegeft_owner[adapter_name] = self

    def borrow(self, adapter_name: str, owner: WeGeFTLinear) -> None:
        """Use the factors that another layer holds."""
        self.wegeft_owner[adapter_name] = owner

    def update_of(self, adapter_name: str) -> WeGeFTUpdate | None:
        """The factors of an adapter; None if it does not act on this layer."""
        owner = self.wegeft_owner.get(adapter_name)
        if owner is None:
            return None
        update = owner.wegeft_update[adapter_name]
        assert isinstance(update, WeGeFTUpdate)
        return update

    def forward(self, x_NI: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """(..., I) to (..., O); the active adapters add up."""
        if kwargs.pop("adapter_names", None) is not None:
            raise ValueError(NO_MIXING)
        if self.disable_adapters and self.merged:
            self.unmerge()
        updates = [] if self.disable_adapters or self.merged else self._active_updates()
        if len(updates) == 1:
            return updates[0](self.view, x_NI)  # type: ignore[no-any-return]
        y_NO: Tensor = self.base_layer(x_NI, *args, **kwargs)
        return y_NO + sum(update(self.view, x_NI) - y_NO for update in updates) if updates else y_NO

    def _active_updates(self) -> list[WeGeFTUpdate]:
        found = (self.update_of(name) for name in self.active_adapters)
        return [update for update in found if update is not None]

    @torch.no_grad()
    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Fold adapters into the base layer, each generated from the plain weight, rounding once.

        Args:
            safe_merge: refuse a weight that is not finite, leaving the layer as it was.
            adapter_names: the adapters to fold; the active ones if None.
        """
        chosen = [name for name in check_adapters_to_merge(self, adapter_names) if name in self.wegeft_owner]
        if not chosen:
            return
        if self.view.is_quantised:
            raise ValueError("A quantised layer cannot take an adapter into its weight.")
        merged = [*self.merged_adapters, *chosen]
        with self._unfolded():
            weight_OI = self.view.weight + sum(self._delta(name) for name in merged)
        if safe_merge and not weight_OI.isfinite().all():
            names = ", ".join(chosen)
            raise ValueError(f"NaNs detected in the merged weights. The adapter {names} seems to be broken")
        self.view.unfold()
        self.view.fold(weight_OI, self.view.bias)
        self.merged_adapters = merged

    def unmerge(self) -> None:
        """Give the base layer its own parameters back, bit for bit."""
        if not self.merged:
            warnings.warn("Already unmerged. Nothing to do.", stacklevel=2)
            return
        self.view.unfold()
        self.merged_adapters = []

    @torch.no_grad()
    def get_delta_weight(self, adapter: str) -> Tensor:
        """What an adapter adds to the plain weight, in the layout and dtype of the base layer."""
        with self._unfolded():
            return self.view.stored(self._delta(adapter)).to(self.view.weight.dtype)

    @contextmanager
    def _unfolded(self) -> Iterator[None]:
        """Let the base layer hold its own parameters for a while."""
        folded = (self.view.weight, self.view.bias) if self.view.is_folded else None
        self.view.unfold()
        try:
            yield
        finally:
            if folded is not None:
                self.view.fold(*folded)

    def _delta(self, adapter_name: str) -> Tensor:
        """s·(Wφ)ψ, (O, I), in the precision of folding; W must be the plain weight."""
        update = self.update_of(adapter_name)
        if update is None:
            raise KeyError(adapter_name)
        a_RI, b_OR = update.lora_factors(self.view)
        return b_OR @ a_RI

    def _replicate_for_data_parallel(self) -> NoReturn:
        """Refused: a replica would go on to use the owner, and the view, of the layer on the first device."""
        raise ValueError("WeGeFT does not run under nn.DataParallel: use DistributedDataParallel.")

    def supports_lora_conversion(self, adapter_name: str = "default") -> bool:
        """True: the update is a low-rank matrix that is added."""
        return adapter_name in self.wegeft_owner

    def __repr__(self) -> str:
        return "wegeft." + super().__repr__()
