"""The vision experiment on a tiny transformer: every contestant is timed on images, in the depth that was asked for."""

import sys
from pathlib import Path

import pytest

from tests.composing import run_config
from wegeft.cli import main
from wegeft.efficiency.report import read_report

TINY = (
    "+experiment=efficiency_vision",
    *(f"+model.architecture.{size}" for size in ("embed_dim=32", "num_heads=2", "img_size=32")),
    "efficiency.tokens=10",
    "efficiency.rounds=1",
)


def test_every_contestant_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["run.py", *TINY, f"efficiency.folder={tmp_path}"])
    main()
    report = read_report(tmp_path / "vit_b16_in21k_2_layers_10_tokens_float32_cpu.json")
    wanted = run_config("+experiment=efficiency_vision").efficiency
    assert wanted is not None
    assert report.contestants.keys() == wanted.contestants.keys()
    trainable = {name: figures.trainable for name, figures in report.contestants.items()}
    assert trainable["frozen"] == trainable["linear probe"] == 0
    assert trainable["wegeft r=16"] == trainable["official v3 r=16"] == 2 * 16 * 32
    assert trainable["wegeft r=16, per layer"] == 2 * trainable["wegeft r=16"]
    assert trainable["lora r=8"] == trainable["peft lora r=8"] == 2 * 2 * 8 * 32
    assert trainable["vpt"] == 2 * 5 * 32
    # Two images of four patches and a class token: the embedding of the patches, and of each block qkv, the projection
    # and the perceptron, forward and backward, at two operations a multiply-add; attention comes on top.
    linear = 2 * (4 * 32 * 3 * 16**2 + 2 * 5 * 12 * 32**2)
    assert 2 * 2 * linear <= report.model_flops < 1.2 * 2 * 2 * linear
