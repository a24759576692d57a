"""Adapters that the authors released, read without running what is in the file."""

import argparse
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.methods.tiny import compose_config, tiny_llama
from wegeft.errors import UserError
from wegeft.methods import build_method
from wegeft.methods.linear import AdaptedLinear
from wegeft.methods.official import adapter_state, read_peft_fork, read_vision_checkpoint
from wegeft.methods.wegeft import WeGeFT

PER_TYPE = [[r"model.layers.\d+.self_attn.q_proj"], [r"model.layers.\d+.mlp.(up|down)_proj", "never"]]


def wegeft(config: dict[str, Any]) -> WeGeFT:
    """Our method with the values of an official adapter."""
    base = compose_config("method=wegeft", f"method.recipe={config['recipe']}", "scale=paper")["method"]
    method = build_method({**base, **config})
    assert isinstance(method, WeGeFT)
    return method


def adapted_layer(backbone: nn.Module, name: str) -> AdaptedLinear:
    layer = backbone.get_submodule(name)
    assert isinstance(layer, AdaptedLinear)
    return layer


def test_released_vision_checkpoint(real_data: Path) -> None:
    path = real_data / "official_checkpoints" / "CUB" / "last.pth.tar"
    official = read_vision_checkpoint(path)
    assert official.metric == pytest.approx(89.7135, abs=1e-4)
    assert official.arguments["lr"] == 1e-4
    # The pair is shared by all blocks, so two blocks of the right width carry it as well as twelve.
    vit: nn.Module = timm.create_model("vit_base_patch16_224", img_size=32, depth=2, num_classes=200).eval()
    method = wegeft(official.config)
    method.attach(vit, ["head"])
    assert method.parameter_count() == 24_576
    method.load_adapter_state(adapter_state(official))
    with torch.serialization.safe_globals([argparse.Namespace]):
        state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    layer = adapted_layer(vit, "blocks.1.attn.proj")
    projected = F.linear(layer.view.weight, state["in_projections.attn:proj.weight"])
    delta_OI = F.linear(projected, state["out_projections.attn:proj.weight"])
    x_NI = torch.randn(5, 768, generator=torch.Generator().manual_seed(0))
    expected = F.linear(x_NI, layer.view.weight + delta_OI, layer.view.bias)
    torch.testing.assert_close(layer(x_NI), expected, rtol=0, atol=1e-5)
    assert torch.equal(vit.get_parameter("head.weight"), state["backbone.head.weight"])


def write_fork(folder: Path, tied: list[list[str]] | None, owners: list[str]) -> dict[str, Tensor]:
    """An adapter folder as the authors' fork of PEFT writes it."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for owner in owners:
        width = 48 if owner.endswith("down_proj") else 32
        for part in ("phi", "psi"):
            state[f"base_model.model.{owner}.wegeft_{part}.weight"] = torch.randn(4, width, generator=generator) / 10
    targets = sorted({owner.rpartition(".")[2] for owner in owners})
    config = {
        "peft_type": "WEGEFT",
        "r": 4,
        "wegeft_alpha": 8,
        "wegeft_dropout": 0.1,
        "target_modules": targets,
        "tied_modules": tied,
        "transform_dim": dict.fromkeys(targets, "input"),
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file(state, folder / "adapter_model.safetensors")
    return state


@pytest.mark.parametrize("tied", [True, False])
def test_folder_of_the_peft_fork(tied: bool, tmp_path: Path) -> None:
    names = [f"model.layers.{i}.{part}" for i in range(2) for part in ("self_attn.q_proj", "mlp.up_proj")]
    owners = names[:2] if tied else names
    state = write_fork(tmp_path, PER_TYPE if tied else None, owners)
    official = read_peft_fork(tmp_path)
    method = wegeft(official.config)
    backbone = tiny_llama()
    method.attach(backbone)
    backbone.eval()
    method.load_adapter_state(adapter_state(official))
    x_NI = torch.randn(5, 32, generator=torch.Generator().manual_seed(1))
    for name in names:
        owner = name.replace(".1.", ".0.") if tied else name
        phi, psi = (state[f"base_model.model.{owner}.wegeft_{part}.weight"] for part in ("phi", "psi"))
        layer = adapted_layer(backbone, name)
        expected = F.linear(x_NI, layer.view.weight) + 2 * F.linear(
            F.linear(x_NI, psi), F.linear(layer.view.weight, phi)
        )
        torch.testing.assert_close(layer(x_NI), expected, rtol=0, atol=1e-5)


def test_an_adapter_that_lacks_a_group_is_refused(tmp_path: Path) -> None:
    write_fork(tmp_path, PER_TYPE, ["model.layers.0.self_attn.q_proj"])
    official = read_peft_fork(tmp_path)
    method = wegeft({**official.config, "target_modules": ["q_proj", "v_proj"]})
    method.attach(tiny_llama())
    with pytest.raises(UserError, match=r"lacks .*model:layers:0:self_attn:v_proj"):
        method.load_adapter_state(adapter_state(official))


def test_script_writes_a_file_and_the_command_that_reads_it(tmp_path: Path, project_root: Path) -> None:
    write_fork(tmp_path, PER_TYPE, ["model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj"])
    script = [sys.executable, str(project_root / "scripts" / "import_official.py")]
    output = tmp_path / "adapter.safetensors"
    done = subprocess.run([*script, str(tmp_path), str(output)], capture_output=True, text=True, check=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("python run.py"))
    overrides = [word for word in shlex.split(line) if word.startswith("method.")]
    method = build_method(compose_config("method=wegeft", "scale=paper", *overrides)["method"])
    method.attach(tiny_llama())
    method.load_adapter_state(load_file(output))
    refused = subprocess.run([*script, "nowhere", str(output)], capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stderr) == (2, "nowhere is neither a checkpoint nor an adapter folder.\n")


def test_a_file_that_holds_code_is_not_opened(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "args": tmp_path}, tmp_path / "last.pth.tar")
    with pytest.raises(UserError, match="holds more than tensors and arguments"):
        read_vision_checkpoint(tmp_path / "last.pth.tar")


def test_a_checkpoint_that_is_cut_short_or_something_else_is_said_to_be_so(tmp_path: Path) -> None:
    path = tmp_path / "last.pth.tar"
    torch.save({"state_dict": {"backbone.head.weight": torch.ones(100)}}, path)
    whole = path.read_bytes()
    for content in (b"", b"no checkpoint", whole[:-100], whole.replace(b"data.pkl", b"atad.pkl")):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"last.pth.tar is cut short or damaged"):
            read_vision_checkpoint(path)
    torch.save([torch.ones(1)], path)
    with pytest.raises(UserError, match="holds no WeGeFT factors"):
        read_vision_checkpoint(path)


def test_a_checkpoint_needs_no_arguments_but_every_tensor_must_have_its_place(tmp_path: Path) -> None:
    path = tmp_path / "last.pth.tar"
    state = {f"{part}_projections.attn:proj.weight": torch.ones(2, 2) for part in ("in", "out")}
    torch.save({"state_dict": state}, path)
    assert read_vision_checkpoint(path).arguments == {}
    torch.save({"state_dict": {**state, "norm.weight": torch.ones(2)}}, path)
    with pytest.raises(UserError, match=r"holds the tensor norm\.weight, which"):
        read_vision_checkpoint(path)
    del state["out_projections.attn:proj.weight"]
    torch.save({"state_dict": state}, path)
    with pytest.raises(UserError, match=r"lacks the tensor out_projections\.attn:proj\.weight"):
        read_vision_checkpoint(path)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("target_modules", ".*_proj"),
        ("target_modules", None),
        ("tied_modules", ["q_proj"]),
        ("modules_to_save", ["lm_head"]),
        ("exclude_modules", "lm_head"),
        ("layers_to_transform", 0),
        ("layers_pattern", "layers"),
        ("rank_pattern", {"q_proj": 8}),
        ("alpha_pattern", {"q_proj": 8}),
        ("bias", "all"),
    ],
)
def test_an_option_of_the_fork_that_has_no_place_is_refused(option: str, value: object, tmp_path: Path) -> None:
    write_fork(tmp_path, None, ["model.layers.0.self_attn.q_proj"])
    path = tmp_path / "adapter_config.json"
    config = json.loads(path.read_text())
    neutral: dict[str, object] = {
        "modules_to_save": None,
        "layers_to_transform": None,
        "rank_pattern": {},
        "bias": "none",
    }
    path.write_text(json.dumps({**config, **neutral}))
    read_peft_fork(tmp_path)
    path.write_text(json.dumps({**config, option: value}))
    with pytest.raises(UserError, match=re.escape(f"adapter_config.json sets {option}={value!r}")):
        read_peft_fork(tmp_path)


@pytest.mark.parametrize("option", ["r", "wegeft_dropout", "target_modules", "transform_dim"])
def test_an_option_of_the_fork_that_is_missing_is_named(option: str, tmp_path: Path) -> None:
    write_fork(tmp_path, None, ["model.layers.0.self_attn.q_proj"])
    path = tmp_path / "adapter_config.json"
    config = json.loads(path.read_text())
    del config[option]
    path.write_text(json.dumps(config))
    with pytest.raises(UserError, match=f"has no `{option}`"):
        read_peft_fork(tmp_path)


def test_the_output_side_of_the_fork_is_refused_in_either_spelling(tmp_path: Path) -> None:
    write_fork(tmp_path, None, ["model.layers.0.self_attn.q_proj"])
    path = tmp_path / "adapter_config.json"
    for side in ("output", {"q_proj": "output"}):
        path.write_text(json.dumps({**json.loads(path.read_text()), "transform_dim": side}))
        with pytest.raises(UserError, match="output side cannot run"):
            read_peft_fork(tmp_path)


def test_the_tensors_of_the_fork_are_pairs_and_nothing_else(tmp_path: Path) -> None:
    state = write_fork(tmp_path, None, ["model.layers.0.self_attn.q_proj"])
    path = tmp_path / "adapter_model.safetensors"
    save_file({**state, "base_model.model.lm_head.weight": torch.ones(2)}, path)
    with pytest.raises(UserError, match=r"holds the tensor base_model\.model\.lm_head\.weight, which"):
        read_peft_fork(tmp_path)
    (phi,) = (name for name in state if "phi" in name)
    save_file({phi: state[phi]}, path)
    with pytest.raises(UserError, match=r"lacks the tensor .*wegeft_psi\.weight"):
        read_peft_fork(tmp_path)


def test_damaged_files_of_the_fork_are_named(tmp_path: Path) -> None:
    write_fork(tmp_path, None, ["model.layers.0.self_attn.q_proj"])
    weights = tmp_path / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(UserError, match=r"adapter_model\.safetensors is cut short or damaged"):
        read_peft_fork(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{")
    with pytest.raises(UserError, match=r"adapter_config\.json is not JSON"):
        read_peft_fork(tmp_path)


def test_files_that_are_missing_or_of_another_kind_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"last.pth.tar does not exist"):
        read_vision_checkpoint(tmp_path / "last.pth.tar")
    torch.save({"state_dict": {"backbone.head.weight": torch.ones(1)}}, tmp_path / "last.pth.tar")
    with pytest.raises(UserError, match="holds no WeGeFT factors"):
        read_vision_checkpoint(tmp_path / "last.pth.tar")
    with pytest.raises(UserError, match="expected a folder of the authors' PEFT fork"):
        read_peft_fork(tmp_path)
    write_fork(tmp_path, None, ["q_proj"])
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(UserError, match="is not of the authors' PEFT fork"):
        read_peft_fork(tmp_path)
