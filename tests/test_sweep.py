"""A sweep: one run that ends badly leaves the others alone, and each record tells how to repeat its own run."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from wegeft.cli import main
from wegeft.exits import DIVERGED

SHORT = ("method=full", "training.max_grad_norm=null", "training.max_steps=3", "evaluation.limit=1")


def records() -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(Path("results/records").glob("*.json"))]


def test_a_diverged_run_ends_neither_the_others_nor_goes_unnoticed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rates = ("1e+20", "0.001")  # as Hydra spells them
    monkeypatch.setattr(sys, "argv", ["run.py", "-m", *SHORT, f"training.learning_rate={','.join(rates)}"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == DIVERGED
    found = {record["config"]["training"]["learning_rate"]: record for record in records()}
    assert {rate: record["status"] for rate, record in found.items()} == {1e20: "diverged", 0.001: "finished"}
    for rate in rates:
        assert found[float(rate)]["command"] == ["run.py", *SHORT, f"training.learning_rate={rate}"]
    assert "diverged: step" in capsys.readouterr().out
