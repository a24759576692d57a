"""Weights & Biases, for real and without a network: what is logged lies in its offline folder."""

import time
from pathlib import Path

from tests.composing import run_config
from wegeft.training.logger import open_logger

PATIENCE_S = 60


def test_nothing_is_written_by_default(tmp_path: Path) -> None:
    with open_logger(run_config().logger, "abc", {}, str(tmp_path)) as log:
        log(0, {"loss": 1.0})
    assert list(tmp_path.iterdir()) == []


def test_wandb_writes_offline(tmp_path: Path) -> None:
    with open_logger(run_config("logger=wandb").logger, "abc", {"seed": 1}, str(tmp_path)) as log:
        for step in range(3):
            log(step, {"loss": 1.0 / (step + 1), "learning_rate": 0.1})
    (stored,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    # A process of wandb's own writes the file, on a busy machine after the session has ended here.
    end = time.monotonic() + PATIENCE_S
    while b"learning_rate" not in stored.read_bytes() and time.monotonic() < end:
        time.sleep(0.1)
    content = stored.read_bytes()
    assert b"learning_rate" in content
    assert b"abc" in content
