"""Reading the adapters that WeGeFT's authors release, into the state of our method.

Two formats exist. Vision runs (FGVC, VTAB-1k) are timm checkpoints, ``last.pth.tar``, that hold per target module
``in_projections`` (φᵀ, R × I), ``out_projections`` (ψᵀ, I × R) and the head. Language runs are folders of the authors'
fork of PEFT, whose owner layers hold ``wegeft_phi`` (φᵀ, R × I) and ``wegeft_psi`` (ψ, R × I).

Does not: run code from a file. The checkpoints are pickles; they are opened with ``weights_only`` and one class
allowed, the argument list that timm stores.
"""

from __future__ import annotations

import argparse
import json
import pickle  # noqa: TID251  # for the name of an error; nothing is unpickled with it
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from wegeft.errors import UserError
from wegeft.methods.wegeft import group_name

_IN, _OUT, _HEAD = "in_projections.", "out_projections.", "backbone."


@dataclass(frozen=True)
class OfficialAdapter:
    """What a released file holds.

    Attributes:
        factors: ``{name: (phi_DR, psi_RD)}``; a name is a target module (vision) or the layer that owns the pair.
        heads: trained modules besides the factors, by their names in the backbone.
        config: values for the ``method`` node that rebuild the adapter, besides the YAML's own.
        arguments: what the authors' run was told.
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
    state: dict[str, Tensor] = checkpoint.get("state_dict", {})
    names = [key.removeprefix(_IN).removesuffix(".weight") for key in state if key.startswith(_IN)]
    if not names:
        raise UserError(f"{path} holds no WeGeFT factors (in_projections.*).")
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
    heads = {key.removeprefix(_HEAD): value for key, value in state.items() if key.startswith(_HEAD)}
    return OfficialAdapter(factors, heads, config, vars(checkpoint["args"]), checkpoint.get("metric"))


def read_peft_fork(folder: Path) -> OfficialAdapter:
    """An adapter folder of the authors' fork of PEFT (``adapter_config.json``, ``adapter_model.safetensors``).

    Raises:
        UserError: a file is missing, or the adapter is of another kind.
    """
    try:
        arguments = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        state = load_file(folder / "adapter_model.safetensors")
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} does not exist; expected a folder of the authors' PEFT fork.") from error
    if str(arguments.get("peft_type")).upper() != "WEGEFT" or "wegeft_alpha" not in arguments:
        raise UserError(f"{folder / 'adapter_config.json'} is not of the authors' PEFT fork.")
    ends = ".wegeft_phi.weight"
    owners = [key.removesuffix(ends) for key in state if key.endswith(ends)]
    factors = {
        owner.removeprefix("base_model.model."): (state[f"{owner}{ends}"].T, state[f"{owner}.wegeft_psi.weight"])
        for owner in owners
    }
    return OfficialAdapter(factors, {}, _fork_config(arguments), arguments, None)


def adapter_state(official: OfficialAdapter) -> dict[str, Tensor]:
    """The state that `Method.load_adapter_state` takes, for a method attached with ``official.config``."""
    state = dict(official.heads)
    for name, (phi_DR, psi_RD) in official.factors.items():
        group = group_name(official.config["sharing"], name, name, phi_DR.shape[0]).replace(".", ":")
        state[f"adapter.updates.{group}.phi_DR"] = phi_DR.contiguous()
        state[f"adapter.updates.{group}.psi_RD"] = psi_RD.contiguous()
    return state


def _fork_config(arguments: Mapping[str, Any]) -> dict[str, Any]:
    sides = arguments["transform_dim"]
    if sides not in (None, "input") and set(dict(sides).values()) != {"input"}:
        raise UserError("The fork's output side cannot run, so there is no such adapter to read.")
    tied = arguments.get("tied_modules")
    # The fork matches from the start of a module's name; the layers that no group matches own their factors.
    groups = ["^(?:" + "|".join(group) + ")" for group in tied] if tied else None
    return {
        "recipe": "v5",
        "r": arguments["r"],
        "alpha": arguments["wegeft_alpha"],
        "weight_dropout": arguments["wegeft_dropout"] or 0.0,
        "target_modules": sorted(arguments["target_modules"]),
        "sharing": groups or "per_layer",
    }


def _load(path: Path) -> dict[str, Any]:
    try:
        loaded: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist.") from error
    except pickle.UnpicklingError as error:
        raise UserError(f"{path} holds more than tensors and arguments, so it is not opened.") from error
    return loaded
