"""The schedule equals the one of transformers, which the official code uses."""

import pytest
import torch
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

from tests.composing import run_config
from wegeft.training.schedule import learning_rate, warmup_steps


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_rates_equal_transformers(schedule: str) -> None:
    config = run_config("training.learning_rate=0.3", f"training.schedule={schedule}").training
    steps = 57
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    warmup = warmup_steps(config, steps)
    if schedule == "linear":
        theirs = get_linear_schedule_with_warmup(optimizer, warmup, steps)
    else:
        theirs = get_cosine_schedule_with_warmup(optimizer, warmup, steps)
    for step in range(steps):
        assert learning_rate(config, step, steps) == pytest.approx(theirs.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        theirs.step()


def test_constant_stays_after_the_warm_up() -> None:
    config = run_config("training.learning_rate=0.3", "training.schedule=constant").training
    assert learning_rate(config, 99, 100) == 0.3
