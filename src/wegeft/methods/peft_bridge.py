"""Any method of Hugging Face PEFT that replaces layers, from YAML alone (``method=peft``).

The tuner of PEFT puts its own layers into the backbone; this module only translates. Configuration fields are PEFT's,
and so is the dtype of what is added: as under ``get_peft_model`` fp32 over a bf16 backbone, for which the layers cast
their input, so that the products of the adapter are fp32 as well.

Does not: run prompt-learning types and others that need PEFT's wrapper around the whole model, types with a step of
their own between optimiser steps (AdaLoRA's rank allocation), or those of :data:`_UNFIT`; all end in a clear error.
Folding is done by PEFT in the dtype of the weights.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from wegeft.errors import UserError
from wegeft.methods.base import Method, MethodConfig, match_names
from wegeft.methods.frozen import view_of

if TYPE_CHECKING:
    from peft import PeftConfig
    from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer

_ADAPTER = "default"
_UNFIT = frozenset({"FROD", "SHIRA", "POLY", "SHADOW", "XLORA"})
"""Types that replace layers and yet cannot run. FROD and SHIRA compute from the weights while they attach, and whether
a method fits is checked before there are any; POLY asks for the task of each row; SHADOW runs a second network beside
the backbone, through PEFT's wrapper; XLORA mixes adapters that were trained before."""
_UNFOLDED = frozenset({"BEFT", "LILY", "OSF"})
"""Types that are not folded, though PEFT's layers have a method for it: BEFT wants a bias to add to, LILY refuses, and
what OSF folds it cannot unfold."""


class PeftBridgeConfig(MethodConfig):
    """Keys of the bridge.

    Attributes:
        peft_type: a member of ``peft.PeftType``, e.g. VERA.
        target_modules: names, or last parts of names, of the layers to adapt.
        options_of_scale: options per scale, which ``options_of_type`` refers to; unused by the code.
        options_of_type: options per type, which ``options`` refers to; unused by the code.
        options: further fields of the type's configuration class.
    """

    peft_type: str
    target_modules: tuple[str, ...]
    options_of_scale: dict[str, dict[str, Any]]
    options_of_type: dict[str, dict[str, Any]]
    options: dict[str, Any]


class PeftBridge(Method):
    """A tuner of PEFT, attached to the plain backbone."""

    Config: ClassVar[type[MethodConfig]] = PeftBridgeConfig
    config: PeftBridgeConfig
    identity_at_init = False  # depends on the type and its options
    _tuner: BaseTuner
    _base_tensors: frozenset[int]

    def __init__(self, config: PeftBridgeConfig) -> None:
        super().__init__(config)
        self._plain: dict[str, Tensor] = {}

    def insert(self, backbone: nn.Module) -> None:
        """Freeze the backbone and let PEFT replace the layers."""
        tuner_class, peft_config = _resolve(self.config)
        match_names([name for name, _ in backbone.named_modules()], self.config.target_modules, "method.target_modules")
        self._base_tensors = frozenset(map(id, backbone.state_dict(keep_vars=True).values()))
        try:
            tuner = tuner_class(backbone, peft_config, _ADAPTER)
            tuner._cast_adapter_dtype(_ADAPTER, autocast_adapter_dtype=True)  # PeftModel does it, and types override it
        except (ValueError, TypeError, ArithmeticError, RuntimeError) as error:
            raise UserError(f"method.peft_type={self.config.peft_type} does not fit the backbone: {error}") from error
        # The tuner has the backbone as a submodule; as a submodule of ours it would close a circle.
        object.__setattr__(self, "_tuner", tuner)
        folds = self.config.peft_type not in _UNFOLDED
        self.mergeable = folds and all(_can_merge(layer) for _, layer in self._layers())

    def adapter_state(self) -> dict[str, Tensor]:
        """What PEFT added to the backbone (factors and frozen projections) and the heads, shared tensors once."""
        state: dict[str, Tensor] = {}
        seen: set[int] = set()
        for name, tensor in self.backbone.state_dict(keep_vars=True).items():
            if (id(tensor) not in self._base_tensors or tensor.requires_grad) and id(tensor) not in seen:
                state[name] = tensor.detach()
            seen.add(id(tensor))
        return state

    def merge(self) -> None:
        """Fold by PEFT; the plain weights are kept aside, so unmerging is exact."""
        for name, layer in self._layers():
            if not layer.merged_adapters:
                for part, tensor in layer.get_base_layer().named_parameters():
                    self._plain[f"{name}.{part}"] = tensor.detach().clone()
                layer.merge()

    @torch.no_grad()
    def unmerge(self) -> None:
        """Unfold by PEFT, then put the plain weights back, which its subtraction only approximates."""
        for name, layer in self._layers():
            if layer.merged_adapters:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # that its result is inexact, which does not matter here
                    layer.unmerge()
                for part, tensor in layer.get_base_layer().named_parameters():
                    tensor.copy_(self._plain.pop(f"{name}.{part}"))

    def enable(self) -> None:
        """Switch PEFT's layers on."""
        super().enable()
        self._tuner.enable_adapter_layers()

    def disable(self) -> None:
        """Switch PEFT's layers off; they stay in the backbone."""
        self.unmerge()
        super().disable()
        self._tuner.disable_adapter_layers()

    def detach(self) -> None:
        """Let PEFT put the plain layers back."""
        super().detach()
        self._tuner.unload()

    def _layers(self) -> Iterator[tuple[str, BaseTunerLayer]]:
        from peft.tuners.tuners_utils import BaseTunerLayer

        for name, module in self._tuner.model.named_modules():
            if isinstance(module, BaseTunerLayer):
                yield name, module


def attachable() -> dict[str, tuple[type[BaseTuner], type[PeftConfig]]]:
    """PEFT's tuner and its configuration for each type that can be attached, sorted by name."""
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING

    tuners = {str(peft_type.value): tuner for peft_type, tuner in PEFT_TYPE_TO_TUNER_MAPPING.items()}
    configs = {str(peft_type.value): config for peft_type, config in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    return {
        name: (tuner, configs[name])
        for name, tuner in sorted(tuners.items())
        if _is_layer_tuner(tuner) and name not in _UNFIT
    }


def _resolve(config: PeftBridgeConfig) -> tuple[type[BaseTuner], PeftConfig]:
    """PEFT's tuner class and the configuration of the type that ``config`` names."""
    from peft import PeftConfig

    usable = attachable()
    if config.peft_type not in usable:
        raise UserError(f"method.peft_type={config.peft_type} cannot be attached; choose {', '.join(usable)}.")
    tuner_class, config_class = usable[config.peft_type]
    known = [field.name for field in fields(config_class) if field.init]
    unknown = [name for name in config.options if name not in known]
    if unknown:
        shared = {field.name for field in fields(PeftConfig)}  # what every type has says nothing of this one
        raise UserError(
            f"method.options.{unknown[0]} is no option of method.peft_type={config.peft_type}; choose "
            f"{', '.join(name for name in known if name not in shared)}."
        )
    try:
        return tuner_class, config_class(**{"target_modules": list(config.target_modules), **config.options})
    except (TypeError, ValueError) as error:
        raise UserError(f"method.options do not fit method.peft_type={config.peft_type}: {error}") from error


def _is_layer_tuner(tuner: type) -> bool:
    """Whether PEFT's class replaces layers and leaves the steps of the optimiser alone."""
    from peft.tuners.tuners_utils import BaseTuner

    return issubclass(tuner, BaseTuner) and not hasattr(tuner, "update_and_allocate")


def _can_merge(layer: BaseTunerLayer) -> bool:
    """Whether the layer's class says how to fold, and its weight is no quantised one, which would round it away."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    view = view_of(layer.get_base_layer())
    return type(layer).merge is not BaseTunerLayer.merge and not (view is not None and view.is_quantised)
