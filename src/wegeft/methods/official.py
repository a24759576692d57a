"""Reading the adapters that WeGeFT's authors release, into the state of our method.

Two formats exist. Vision runs (FGVC, VTAB-1k) are timm checkpoints, ``last.pth.tar``, that hold per target module
``in_projections`` (φᵀ, R × I), ``out_projections`` (ψᵀ, I × R) and the head. Language runs are folders of the authors'
fork of PEFT, whose owner layers hold ``wegeft_phi`` (φᵀ, R × I) and ``wegeft_psi`` (ψ, R × I).

Does not: run code from a file. The checkpoints are pickles; they are opened with ``weights_only`` and one class
allowed, the argument list that timm stores. Nor does it leave anything of a file away: an option of the fork or a
tensor that our method has no place for is refused.
"""

from __future__ import annotations

import argparse
import json
import pickle  # noqa: TID251  # for the name of an error; nothing is unpickled with it
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from wegeft.errors import UserError
from wegeft.methods.wegeft import group_name

_IN, _OUT, _HEAD = "in_projections.", "out_projections.", "backbone."
_PHI, _PSI = ".wegeft_phi.weight", ".wegeft_psi.weight"
_NEEDED = ("r", "wegeft_dropout", "target_modules", "transform_dim")
"""Options of the fork that an adapter cannot be rebuilt without, besides ``wegeft_alpha``, by which it is told."""
_WITHOUT_PLACE = (
    "modules_to_save",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "rank_pattern",
    "alpha_pattern",
)
"""Options of the fork that would change the adapter, and that our method has none like."""


@dataclass(frozen=True)
class OfficialAdapter:
    """What a released file holds.

    Attributes:
        factors: ``{name: (phi_DR, psi_RD)}``; a name is a target module (vision) or the layer that owns the pair.
        heads: trained modules besides the factors, by their names in the backbone.
        config: values for the ``method`` node that rebuild the adapter, besides the YAML's own.
        arguments: what the authors' run was told; empty if the file does not say.
        metric: the score that the file claims, in percent; None if it claims none.
    """

    factors: dict[str, tuple[Tensor, Tensor]]
    heads: dict[str, Tensor]
    config: dict[str, Any]
    arguments: dict[str, Any]
    metric: float | None


def read_vision_checkpoint(path: Path) -> OfficialAdapter:
    """A ``last.pth.tar`` of the authors' vision code.

    Raises:
        UserError: no such file, or one that holds something else.
    """
    with torch.serialization.safe_globals([argparse.Namespace]):
        checkpoint = _load(path)
    state: Mapping[str, Tensor] = checkpoint.get("state_dict", {})
    names = [key.removeprefix(_IN).removesuffix(".weight") for key in state if key.startswith(_IN)]
    if not names:
        raise UserError(f"{path} holds no WeGeFT factors (in_projections.*).")
    heads = {key.removeprefix(_HEAD): value for key, value in state.items() if key.startswith(_HEAD)}
    pairs = [f"{part}{name}.weight" for name in names for part in (_IN, _OUT)]
    _check_names(path, state, [*pairs, *(_HEAD + name for name in heads)])
    factors = {
        # The authors write `:` for `.`; their two projections are the transposes of φ and ψ.
        name.replace(":", "."): (state[f"{_IN}{name}.weight"].T, state[f"{_OUT}{name}.weight"].T)
        for name in names
    }
    config = {
        "recipe": "vision",
        "r": next(iter(factors.values()))[0].shape[1],
        "target_modules": list(factors),
        "sharing": "per_type",
    }
    arguments = vars(checkpoint["args"]) if "args" in checkpoint else {}
    return OfficialAdapter(factors, heads, config, arguments, checkpoint.get("metric"))


def read_peft_fork(folder: Path) -> OfficialAdapter:
    """An adapter folder of the authors' fork of PEFT (``adapter_config.json``, ``adapter_model.safetensors``).

    Raises:
        UserError: a file is missing or damaged, the adapter is of another kind, or it holds more than our method does.
    """
    told, weights = folder / "adapter_config.json", folder / "adapter_model.safetensors"
    try:
        arguments = json.loads(told.read_text(encoding="utf-8"))
        state = load_file(weights)
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} does not exist; expected a folder of the authors' PEFT fork.") from error
    except ValueError as error:  # JSON, or its encoding
        raise UserError(f"{told} is not JSON ({error}); copy it again.") from error
    except SafetensorError as error:
        raise UserError(f"{weights} is cut short or damaged ({error}); copy it again.") from error
    is_of_fork = isinstance(arguments, dict) and "wegeft_alpha" in arguments
    if not is_of_fork or str(arguments.get("peft_type")).upper() != "WEGEFT":
        raise UserError(f"{told} is not of the authors' PEFT fork.")
    config = _fork_config(told, arguments)
    owners = [key.removesuffix(_PHI) for key in state if key.endswith(_PHI)]
    _check_names(weights, state, [owner + part for owner in owners for part in (_PHI, _PSI)])
    factors = {
        owner.removeprefix("base_model.model."): (state[f"{owner}{_PHI}"].T, state[f"{owner}{_PSI}"])
        for owner in owners
    }
    return OfficialAdapter(factors, {}, config, arguments, None)


def adapter_state(official: OfficialAdapter) -> dict[str, Tensor]:
    """The state that `Method.load_adapter_state` takes, for a method attached with ``official.config``."""
    state = dict(official.heads)
    for name, (phi_DR, psi_RD) in official.factors.items():
        group = group_name(official.config["sharing"], name, name, phi_DR.shape[0]).replace(".", ":")
        state[f"adapter.updates.{group}.phi_DR"] = phi_DR.contiguous()
        state[f"adapter.updates.{group}.psi_RD"] = psi_RD.contiguous()
    return state


def _fork_config(path: Path, arguments: Mapping[str, Any]) -> dict[str, Any]:
    missing = [name for name in _NEEDED if name not in arguments]
    if missing:
        raise UserError(f"{path} has no `{missing[0]}`, without which the adapter cannot be rebuilt.")
    unread = [name for name in _WITHOUT_PLACE if arguments.get(name) not in (None, [], {}, "")]
    unread += ["bias"] if arguments.get("bias", "none") != "none" else []
    if unread:
        raise UserError(
            f"{path} sets {unread[0]}={arguments[unread[0]]!r}, which this suite's method has no place for."
        )
    targets, sides, tied = arguments["target_modules"], arguments["transform_dim"], arguments.get("tied_modules") or []
    if not isinstance(targets, list):
        raise UserError(f"{path} sets target_modules={targets!r}; only a list of names of modules can be read.")
    if not isinstance(tied, list) or not all(isinstance(group, list) for group in tied):
        raise UserError(f"{path} sets tied_modules={tied!r}; only a list of groups, each a list, can be read.")
    if sides not in (None, "input") and not (isinstance(sides, dict) and set(sides.values()) == {"input"}):
        raise UserError("The fork's output side cannot run, so there is no such adapter to read.")
    # The fork matches from the start of a module's name; the layers that no group matches own their factors.
    groups = ["^(?:" + "|".join(group) + ")" for group in tied]
    return {
        "recipe": "v5",
        "r": arguments["r"],
        "alpha": arguments["wegeft_alpha"],
        "weight_dropout": arguments["wegeft_dropout"] or 0.0,
        "target_modules": sorted(targets),
        "sharing": groups or "per_layer",
    }


def _check_names(path: Path, state: Mapping[str, Tensor], known: Iterable[str]) -> None:
    """Refuse a file whose tensors are not those that are ``known``."""
    names = set(known)
    lacking, unknown = sorted(names - state.keys()), sorted(state.keys() - names)
    if lacking:
        raise UserError(f"{path} lacks the tensor {lacking[0]}.")
    if unknown:
        raise UserError(f"{path} holds the tensor {unknown[0]}, which this suite's method has no place for.")


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path} does not exist.")
    damaged = f"{path} is cut short or damaged, or no checkpoint that torch.save wrote; copy it again."
    if not zipfile.is_zipfile(path):  # all that torch has written since 1.6
        raise UserError(damaged)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(f"{path} holds more than tensors and arguments, so it is not opened.") from error
    except RuntimeError as error:
        raise UserError(damaged) from error
    return loaded if isinstance(loaded, dict) else {}
