"""Taking a trained method elsewhere: as a stock PEFT LoRA folder, or folded into a checkpoint of transformers.

A method whose update is W' = W + B A with known factors is a LoRA for whoever loads it: WeGeFT with A = ψ and
B = s·Wφ. Everything else that merges can be folded into the weights.

Does not: push anything to a hub, write tokenizers, or train on after folding.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from wegeft.errors import UserError
from wegeft.methods.base import Method
from wegeft.methods.frozen import FUSED_PARTS, TransposedLinear
from wegeft.methods.linear import AdaptedLinear

_PEFT_PREFIX = "base_model.model."


def export_lora(method: Method, folder: Path, base_model: str | None = None, task_type: str | None = None) -> None:
    """Write the attached ``method`` as a LoRA that an unchanged PEFT loads onto the plain backbone.

    Args:
        method: attached and not merged.
        folder: receives ``adapter_config.json`` and ``adapter_model.safetensors`` (fp32, scale folded into B).
        base_model: hub id or folder of the plain backbone, for the configuration file.
        task_type: PEFT's name of the task, e.g. CAUSAL_LM.

    Raises:
        UserError: the method is no LoRA, or the task trains heads, which such a folder would lose.
    """
    factors = method.lora_factors()
    if factors is None:
        raise UserError(f"method={method.config.name} is no LoRA; export the folded weights instead.")
    if any(method.in_head(name) for name in method.trainable()):
        raise UserError("A LoRA folder has no place for a trained head; export the folded weights instead.")
    layers = {name: module for name, module in method.backbone.named_modules() if isinstance(module, AdaptedLinear)}
    whole = {name: _of_whole_layer(name, layer, factors) for name, layer in layers.items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(_state(whole), folder / "adapter_model.safetensors", metadata={"format": "pt"})
    _lora_config(method.backbone, whole, base_model, task_type).save_pretrained(str(folder))


def check_merged(method: Method) -> None:
    """Refuse a method that :func:`export_merged` cannot write, and leave it as it is; works on the meta device.

    Raises:
        UserError: as :func:`export_merged`.
    """
    _merge(method)
    method.unmerge()


def export_merged(method: Method, folder: Path) -> None:
    """Fold the attached ``method`` into the backbone, detach it, and write a checkpoint that transformers loads.

    Raises:
        UserError: the method cannot be folded, or folding gives a layer a bias that the architecture does not have.
    """
    backbone: Any = method.backbone
    _merge(method)
    method.detach()
    backbone.save_pretrained(str(folder))


def _merge(method: Method) -> None:
    """Merge, unless the result would be another architecture."""
    backbone = method.backbone
    if not method.mergeable:
        raise UserError(f"method={method.config.name} cannot be folded into the weights of this backbone.")
    added = [name for name, layer in _adapted(backbone) if layer.bias is None]
    method.merge()
    if any(backbone.get_submodule(name).bias is not None for name in added):
        method.unmerge()
        raise UserError(f"method={method.config.name} adds biases to {added[0]}, which the architecture cannot store.")


def _adapted(backbone: nn.Module) -> list[tuple[str, AdaptedLinear]]:
    return [(name, module) for name, module in backbone.named_modules() if isinstance(module, AdaptedLinear)]


def _of_whole_layer(
    name: str, layer: AdaptedLinear, factors: dict[str, tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """(A_RI, B_OR) of a layer, from those of its parts if it is fused: A stacked, B block by block."""
    if name in factors:
        return factors[name]
    parts = [
        (index, *factors[f"{name}.{part}"]) for index, part in enumerate(FUSED_PARTS) if f"{name}.{part}" in factors
    ]
    blocks = []
    for index, _, b_OR in parts:
        block_OR = b_OR.new_zeros(layer.out_features, b_OR.shape[1])
        rows = b_OR.shape[0]
        block_OR[index * rows : (index + 1) * rows] = b_OR
        blocks.append(block_OR)
    return torch.cat([a_RI for _, a_RI, _ in parts]), torch.cat(blocks, dim=1)


def _state(factors: dict[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """PEFT's names and layout."""
    state = {}
    for name, (a_RI, b_OR) in factors.items():
        state[f"{_PEFT_PREFIX}{name}.lora_A.weight"] = a_RI.float().contiguous().cpu()
        state[f"{_PEFT_PREFIX}{name}.lora_B.weight"] = b_OR.float().contiguous().cpu()
    return state


def _lora_config(
    backbone: nn.Module, factors: dict[str, tuple[Tensor, Tensor]], base_model: str | None, task_type: str | None
) -> Any:
    """PEFT's configuration; α = r everywhere, because the scale is in B."""
    from peft import LoraConfig

    ranks = {name: a_RI.shape[0] for name, (a_RI, _) in factors.items()}
    usual = max(set(ranks.values()), key=list(ranks.values()).count)
    unusual = {name: rank for name, rank in ranks.items() if rank != usual}
    modules = (backbone.get_submodule(name) for name in ranks)
    transposed = any(
        isinstance(module, AdaptedLinear) and isinstance(module.view, TransposedLinear) for module in modules
    )
    return LoraConfig(
        r=usual,
        lora_alpha=usual,
        rank_pattern=unusual,
        alpha_pattern=unusual,
        target_modules=sorted(ranks),
        fan_in_fan_out=transposed,
        base_model_name_or_path=base_model,
        task_type=task_type,
        inference_mode=True,
    )
