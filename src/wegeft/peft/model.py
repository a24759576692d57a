"""The tuner that puts WeGeFT layers into a model, as PEFT's tuners do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from peft.tuners.tuners_utils import BaseTuner
from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
from torch import Tensor, nn

from wegeft.methods.input_edit import share_inputs
from wegeft.methods.linear import uniform
from wegeft.methods.wegeft import InputUpdate, WeGeFTUpdate, build_update, edited_width, group_name
from wegeft.peft.config import WeGeFTConfig
from wegeft.peft.layer import NO_MIXING, WeGeFTLinear

_DEFAULT_TARGETS = {name: list(names) for name, names in TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.items()}


class WeGeFTModel(BaseTuner):
    """Replaces the targeted linear layers; the first layer of each group owns the factors that the others use."""

    prefix = "wegeft_"
    tuner_layer_cls = WeGeFTLinear
    target_module_mapping = _DEFAULT_TARGETS
    _owners: dict[str, WeGeFTLinear]

    def inject_adapter(
        self,
        model: nn.Module,
        adapter_name: str,
        autocast_adapter_dtype: bool = True,
        low_cpu_mem_usage: bool = False,
        state_dict: dict[str, Tensor] | None = None,
    ) -> None:
        """Add one adapter, whose groups are its own; if it is refused, the model is as it was."""
        config = self.peft_config[adapter_name]
        assert isinstance(config, WeGeFTConfig)
        if state_dict is not None and config.sharing != "per_layer":
            raise ValueError(
                "A state_dict names only the layers that own factors, not those that use them by "
                f"sharing={config.sharing}: choose the layers by target_modules instead."
            )
        object.__setattr__(self, "_owners", {})  # the owners are submodules of the model already
        with _undone_if_refused(model):
            super().inject_adapter(model, adapter_name, autocast_adapter_dtype, low_cpu_mem_usage, state_dict)
        layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, WeGeFTLinear)}
        updates = {name: (layer.view, layer.update_of(adapter_name)) for name, layer in layers.items()}
        share_inputs({name: (view, u) for name, (view, u) in updates.items() if isinstance(u, InputUpdate)})

    @contextmanager
    def _enable_peft_forward_hooks(self, *_: Any, **kwargs: Any) -> Iterator[None]:
        """Around a forward pass, from which PEFT takes ``adapter_names``: refuse these, hold nothing if it fails."""
        if kwargs.get("adapter_names") is not None:
            raise ValueError(NO_MIXING)
        try:
            yield
        except BaseException:
            for module in self.model.modules():
                if isinstance(module, InputUpdate):
                    module.forget_inputs()
            raise

    def _create_and_replace(
        self,
        peft_config: Any,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        """Give ``target`` an adapter, wrapping it first if it has none."""
        if parameter_name is not None:
            raise ValueError("WeGeFT adapts modules, not bare parameters.")
        layer = target if isinstance(target, WeGeFTLinear) else WeGeFTLinear(target, adapter_name)
        self._share(peft_config, adapter_name, layer, current_key)
        layer.set_adapter(layer.active_adapters, inference_mode=peft_config.inference_mode)
        if layer is target:
            return
        if adapter_name not in self.active_adapters:  # an additional adapter is not trained until it is set
            layer.requires_grad_(False)
        self._replace_module(parent, target_name, layer, target)

    def _share(self, config: WeGeFTConfig, adapter_name: str, layer: WeGeFTLinear, key: str) -> None:
        """Let ``layer`` own the factors of its group if it is the first, or borrow them."""
        update_config = config.update_config()
        width = edited_width(update_config, layer.view)
        group = group_name(config.sharing, key, f"{_type_name(config, key)}_{width}", width)
        owner = self._owners.get(group)
        if owner is not None:
            _check_alike(config, owner, layer, key)
            layer.borrow(adapter_name, owner)
            return
        if config.r > width:
            raise ValueError(f"r={config.r} is above the width of {key}; choose at most {width}.")
        update = build_update(update_config, layer.view)
        if not config.init_weights:
            _randomise(update, width)
        layer.own(adapter_name, update)
        self._owners[group] = layer


def _check_alike(config: WeGeFTConfig, owner: WeGeFTLinear, layer: WeGeFTLinear, key: str) -> None:
    """Refuse the layer ``key`` if it cannot use the factors of ``owner``."""
    widths = [edited_width(config.update_config(), member.view) for member in (layer, owner)]
    if widths[0] != widths[1]:
        raise ValueError(
            f"sharing={config.sharing} needs layers of equal {config.side} width, but {key} has {widths[0]} and "
            f"another layer of its group {widths[1]}; choose per_type, equal_width or per_layer."
        )
    if config.block == "mlp_mixer" and layer.out_features != owner.out_features:
        raise ValueError(
            f"block=mlp_mixer mixes rows, so layers that share it need equal output widths, but {key} has "
            f"{layer.out_features} and another layer of its group {owner.out_features}; choose sharing=per_layer."
        )


@contextmanager
def _undone_if_refused(model: nn.Module) -> Iterator[None]:
    """Take out what was put into the model before an exception; half of an adapter would be trained with the next."""
    layers = [layer for layer in model.modules() if isinstance(layer, WeGeFTLinear)]
    held = {layer: (dict(layer.wegeft_update.items()), dict(layer.wegeft_owner)) for layer in layers}
    trained = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        yield
    except Exception:
        for name, module in list(model.named_modules()):
            if not isinstance(module, WeGeFTLinear):
                continue
            if module in held:
                updates, module.wegeft_owner = held[module]
                module.wegeft_update = nn.ModuleDict(updates)
            else:
                model.set_submodule(name, module.base_layer)
        for parameter, requires_grad in trained:
            parameter.requires_grad_(requires_grad)
        raise


def _type_name(config: WeGeFTConfig, key: str) -> str:
    """The entry of ``target_modules`` that names the module, or the last part of its name if none does.

    The last part too if the entry names one layer only, in full or by its position: PEFT replaces ``all-linear`` by
    the full names, and many full names by the shortest that mean the same.
    """
    targets = config.target_modules if isinstance(config.target_modules, set | list) else ()
    last = key.rpartition(".")[2]
    target = max((target for target in targets if f".{key}".endswith(f".{target}")), key=len, default=last)
    return last if target == key or any(part.isdigit() for part in target.split(".")) else target


def _randomise(update: WeGeFTUpdate, width: int) -> None:
    """Draw both factors at random."""
    for factor in (update.phi_DR, update.psi_RD):
        rows, columns = factor.shape
        factor.data.copy_(uniform((rows, columns), width, factor.device, factor.dtype))
