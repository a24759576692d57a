"""Trained parameters that are shorter than fp32: no step is rounded away, and going on loses nothing."""

import signal
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.training.test_checkpoint import Stopped
from tests.training.test_loop import Everything, RowObjective, State, recipe, rows
from wegeft.training.interruption import Interrupted
from wegeft.training.loop import train
from wegeft.training.masters import Masters

STEPS = ("training.learning_rate=1e-3", "training.warmup_ratio=0", "training.checkpoint_every=1")


def trained(method: Everything, dtype: torch.dtype, checkpoints: Path | None = None, masters: bool = True) -> State:
    method.backbone.to(dtype)  # type: ignore[arg-type]  # transformers' wrapper of it is declared without the module
    train(
        method,
        rows(21),
        RowObjective(),
        recipe(*STEPS, f"training.fp32_masters={masters}"),
        seed=3,
        checkpoints=checkpoints,
    )
    return method.backbone.state_dict()


def test_small_steps_add_up_in_bf16() -> None:
    short, whole = trained(Everything(), torch.bfloat16), trained(Everything(), torch.float32)
    lost = trained(Everything(), torch.bfloat16, masters=False)  # as v3 ran
    for name, value in whole.items():
        if "norm" in name:  # of ones, below which bf16 has steps of 2⁻⁸, four times the rate, and above it twice that
            assert (short[name] != 1).sum() > (lost[name] != 1).sum()
            assert (short[name].float() - value).abs().median() < 2**-9 < (value - 1).abs().max()


def test_going_on_in_bf16_ends_with_the_same_bytes(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        trained(Stopped(3, signal.SIGTERM), torch.bfloat16, tmp_path)
    state, reference = trained(Everything(), torch.bfloat16, tmp_path), trained(Everything(), torch.bfloat16)
    assert all(torch.equal(state[name], reference[name]) for name in reference)


def test_fp32_and_more_is_its_own_master() -> None:
    parameters = {str(kind): nn.Parameter(torch.ones(2, dtype=kind)) for kind in (torch.float32, torch.float64)}
    masters = Masters(parameters, in_fp32=True)
    assert all(masters.values[name] is parameter for name, parameter in parameters.items())
