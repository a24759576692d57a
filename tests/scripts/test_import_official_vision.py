"""The authors' released CUB checkpoint in this suite's hands: everything that can be shown without the pictures."""

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from tests.composing import run_config
from tests.tasks.pictures import TRANSFORMS
from wegeft import experiment, models
from wegeft.config import RunConfig
from wegeft.methods import build_method
from wegeft.records.identity import run_id
from wegeft.records.store import read_record
from wegeft.training import adapter_file

SHAPES = {
    "backbone.head.weight": (200, 768),
    "backbone.head.bias": (200,),
    "in_projections.attn:proj.weight": (16, 768),
    "out_projections.attn:proj.weight": (768, 16),
}
SMALL_PICTURES = ("+model.architecture.img_size=32", *TRANSFORMS)
"""Positions of the backbone are random here anyway, and twelve blocks of full width are the point."""


@pytest.fixture
def checkpoint(real_data: Path) -> Path:
    return real_data / "official_checkpoints" / "CUB" / "last.pth.tar"


@pytest.fixture
def raw(checkpoint: Path) -> dict[str, Tensor]:
    with torch.serialization.safe_globals([argparse.Namespace]):
        state: dict[str, Tensor] = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    return state


def imported(checkpoint: Path, project_root: Path) -> list[str]:
    """Run the script; returns the overrides of the command that it prints, and leaves `adapter.safetensors` here."""
    words = [
        sys.executable,
        str(project_root / "scripts" / "import_official.py"),
        str(checkpoint),
        "--task",
        "fgvc/cub",
    ]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    assert said[0] == "The authors' file claims 89.7135 %."
    return shlex.split(said[1])[2:]


@pytest.mark.slow
def test_the_released_adapter_changes_the_projections_of_the_papers_backbone(
    checkpoint: Path, raw: dict[str, Tensor], project_root: Path
) -> None:
    assert {name: tuple(value.shape) for name, value in raw.items()} == SHAPES
    config = evaluation(imported(checkpoint, project_root))
    assert config.model.architecture is not None
    assert config.model.architecture["name"] == "vit_base_patch16_224.augreg_in21k"
    backbone = models.load(config.model, torch.device("cpu")).model
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    method = build_method(config.method)
    method.attach(backbone, config.model.head_modules)
    assert method.parameter_count() == 24_576
    adapter_file.load(method, Path("adapter.safetensors"))
    method.merge()
    method.detach()
    after = backbone.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"blocks.{i}.attn.proj.weight" for i in range(12)} | {"head.weight", "head.bias"}
    phi_IR, psi_RI = (raw[f"{side}_projections.attn:proj.weight"].double().T for side in ("in", "out"))
    for i in range(12):
        weight_OI = before[f"blocks.{i}.attn.proj.weight"].double()
        expected_OI = weight_OI + weight_OI @ phi_IR @ psi_RI
        torch.testing.assert_close(after[f"blocks.{i}.attn.proj.weight"], expected_OI.float(), rtol=1e-6, atol=1e-8)
    assert torch.equal(after["head.weight"], raw["backbone.head.weight"])


def test_the_imported_file_is_the_released_one_and_survives_a_round_trip(
    checkpoint: Path, raw: dict[str, Tensor], project_root: Path
) -> None:
    config = evaluation(imported(checkpoint, project_root))
    state = load_file("adapter.safetensors")
    assert torch.equal(state["adapter.updates.attn:proj.phi_DR"].T, raw["in_projections.attn:proj.weight"])
    assert torch.equal(state["adapter.updates.attn:proj.psi_RD"].T, raw["out_projections.attn:proj.weight"])
    shallow = config.model.model_copy(update={"architecture": {**(config.model.architecture or {}), "depth": 1}})
    method = build_method(config.method)
    method.attach(models.load(shallow, torch.device("cpu")).model, config.model.head_modules)
    adapter_file.load(method, Path("adapter.safetensors"))
    adapter_file.save(method, Path("again.safetensors"))
    again = load_file("again.safetensors")
    assert again.keys() == state.keys()
    assert all(torch.equal(again[name], value) for name, value in state.items())


def test_the_printed_command_evaluates_it(checkpoint: Path, project_root: Path) -> None:
    overrides = imported(checkpoint, project_root)
    write_many_classes(Path("data"))
    config = evaluation(overrides, "+model.architecture.depth=2", "task.source.expected_images={}")
    experiment.evaluate(config)
    record = read_record(Path(config.records_dir) / f"{run_id(config.plain())}.json")
    assert (record["parameters"]["trainable"], record["parameters"]["head"]) == (24_576, 153_800)
    assert record["evaluation"]["scores"]["cub"]["n"] == 200
    assert record["training"] is None


def evaluation(overrides: list[str], *more: str) -> RunConfig:
    """The printed command on a backbone of random weights that takes small pictures."""
    return run_config(*overrides, "model.weights=random", "model.untrained_control=true", *SMALL_PICTURES, *more)


def write_many_classes(root: Path) -> None:
    """One picture of noise per CUB class and split."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    folder = root / "CUB_200_2011" / "images"
    folder.mkdir(parents=True)
    splits = root / "fgvc_splits" / "cub"
    splits.mkdir(parents=True)
    for split in ("train", "val", "test"):
        names = {f"{split}_{number}.png": number for number in range(1, 201)}
        (splits / f"{split}.json").write_text(json.dumps(names))
        for name in names:
            Image.fromarray(pixels).save(folder / name)
