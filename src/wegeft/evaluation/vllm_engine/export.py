"""A trained method as files that vLLM loads, for as long as an evaluation takes.

Does not: start vLLM, or write what is to be kept.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wegeft.config import RunConfig
from wegeft.errors import UserError
from wegeft.methods.base import Method
from wegeft.methods.export import check_merged, export_lora, export_merged

FOLDER, SETTINGS = "vllm", "vllm.json"
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Values that vLLM takes for the largest rank of a LoRA."""


@contextmanager
def exported(method: Method, config: RunConfig, folder: Path) -> Iterator[nn.Module]:
    """Write what vLLM loads below ``folder``/vllm, and remove it afterwards.

    Yields:
        The backbone that answers, on the CPU: vLLM takes the GPU. Where the method was folded in, it has left it.
    """
    place, backbone = folder / FOLDER, method.backbone
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    try:
        arguments: dict[str, Any] = {"dtype": config.model.dtype}
        if config.evaluation.merge:
            export_merged(method, place / "checkpoint")
            arguments |= {"pretrained": str((place / "checkpoint").resolve())}
        else:
            from wegeft.models.transformers_source import resolve_source

            source = resolve_source(config.model)
            export_lora(method, place / "lora", base_model=source, task_type="CAUSAL_LM")
            lora = {"lora_local_path": str((place / "lora").resolve()), "max_lora_rank": _largest_rank(place / "lora")}
            arguments |= {"pretrained": source, "revision": config.model.revision, **lora}
        (place / SETTINGS).write_text(json.dumps(arguments))
        backbone.to("cpu")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        yield backbone
    finally:
        shutil.rmtree(place, ignore_errors=True)


def check_export(method: Method, config: RunConfig) -> None:
    """Refuse a method that vLLM cannot be given, before it is trained; ``method`` is attached on the meta device.

    Raises:
        UserError: it can neither be folded in nor, without folding, be a LoRA of one rank.
    """
    instead = "set evaluation.engine=hf"
    if config.evaluation.merge:
        check_merged(method)
        return
    factors = method.lora_factors()
    if factors is None or any(method.in_head(name) for name in method.trainable()):
        raise UserError(
            "evaluation.engine=vllm with evaluation.merge=false takes a LoRA alone, and "
            f"method={config.method['name']} is none; set evaluation.merge=true, or {instead}."
        )
    if config.model.weights == "random":
        raise UserError(
            "evaluation.engine=vllm with evaluation.merge=false reads the backbone from model.source, where random "
            f"weights are not; set evaluation.merge=true, or {instead}."
        )
    ranks = {a_RI.shape[0] for a_RI, _ in factors.values()}
    if len(ranks) > 1 or max(ranks) > LORA_RANKS[-1]:
        raise UserError(
            f"evaluation.engine=vllm with evaluation.merge=false takes a LoRA of one rank up to {LORA_RANKS[-1]}, and "
            f"this one has {', '.join(map(str, sorted(ranks)))}; set evaluation.merge=true, or {instead}."
        )


def _largest_rank(folder: Path) -> int:
    """The smallest of vLLM's ranks that holds the LoRA in ``folder``."""
    rank = json.loads((folder / "adapter_config.json").read_text())["r"]
    return next(known for known in LORA_RANKS if known >= rank)
