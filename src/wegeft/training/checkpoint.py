"""The state of a training run on disk: written whole, checked when read, the last two kept.

A checkpoint is a safetensors file (trained parameters, optimiser moments) and a JSON file (step, counters, the SHA-256
of the former and of its own content). The JSON file is written last, so a checkpoint that can be seen is complete; one
whose hash differs is passed over for the one before. No generator state is kept, because every step seeds its own
(``loop``).

Does not: decide when to write, or hold the frozen weights.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from wegeft.files import write_atomically
from wegeft.training.result import TrainingResult

KEPT = 2
"""Checkpoints kept; the older of the two is there for when the newer is damaged."""

_MADE_OF = "made-of"

PARAMETER, MOMENT = "parameter/", "moment/"


def save(
    folder: Path, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer, result: TrainingResult
) -> None:
    """Write the state after ``result.steps`` steps and drop all but the last :data:`KEPT`.

    Raises:
        StorageError: the folder cannot be written to (full, read-only); what was there before is still whole.
    """
    tensors = {PARAMETER + name: parameter.detach().cpu() for name, parameter in parameters.items()}
    for name, parameter in parameters.items():
        for moment, value in optimizer.state[parameter].items():
            tensors[f"{MOMENT}{name}/{moment}"] = value.detach().cpu()
    content = safetensors.torch.save({name: tensor.contiguous() for name, tensor in tensors.items()})
    facts = {"result": asdict(result), "sha256": _sha256(content)}
    stem = folder / f"step-{result.steps:08d}"
    write_atomically(stem.with_suffix(".safetensors"), content)
    write_atomically(stem.with_suffix(".json"), json.dumps({"facts": facts, "sha256": _facts_sha256(facts)}).encode())
    kept = {path.stem for path in _newest_first(folder)[:KEPT]}
    for path in folder.glob("step-*"):  # parts without their other half are among them
        if path.stem not in kept:
            path.unlink()


def restore(
    folder: Path, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> TrainingResult | None:
    """Put the newest undamaged checkpoint into ``parameters`` and ``optimizer``; None if there is none."""
    for path in _newest_first(folder):
        found = _read(path)
        if found is not None:
            tensors, result = found
            _put(tensors, parameters, optimizer)
            return result
    return None


def made_of(folder: Path) -> str | None:
    """What the checkpoints in ``folder`` were trained on, as :func:`say_made_of` was told; None if it was not."""
    path = folder / _MADE_OF
    return path.read_text() if path.is_file() else None


def say_made_of(folder: Path, data: str) -> None:
    """Keep a digest of the training data beside the checkpoints that are about to be written."""
    write_atomically(folder / _MADE_OF, data.encode())


def drop(folder: Path) -> None:
    """Remove every checkpoint; the run is over and its adapter is kept elsewhere."""
    for path in (*folder.glob("step-*"), folder / _MADE_OF):
        path.unlink(missing_ok=True)
    if folder.is_dir():
        folder.rmdir()


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.json"), reverse=True)


def _read(path: Path) -> tuple[dict[str, Tensor], TrainingResult] | None:
    """Tensors and counters of one checkpoint; None if a part is missing, cut short or changed."""
    try:
        kept: dict[str, Any] = json.loads(path.read_bytes())
        facts = kept["facts"]
        content = path.with_suffix(".safetensors").read_bytes()
        if kept["sha256"] != _facts_sha256(facts) or facts["sha256"] != _sha256(content):
            return None
        result = TrainingResult(**facts["result"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    result.loss_curve = [(int(step), loss, norm) for step, loss, norm in result.loss_curve]
    return safetensors.torch.load(content), result


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _facts_sha256(facts: Mapping[str, Any]) -> str:
    """Hash of the counters themselves; JSON gives every float back exactly."""
    return _sha256(json.dumps(facts, sort_keys=True).encode())


def _put(
    tensors: Mapping[str, Tensor], parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> None:
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[PARAMETER + name])
            prefix = f"{MOMENT}{name}/"
            optimizer.state[parameter] = {
                key.removeprefix(prefix): value.to(_moment_device(key, parameter)).clone()
                for key, value in tensors.items()
                if key.startswith(prefix)
            }


def _moment_device(key: str, parameter: nn.Parameter) -> torch.device:
    """AdamW keeps its step counter on the CPU and its moments beside the parameter."""
    return torch.device("cpu") if key.endswith("/step") else parameter.device
