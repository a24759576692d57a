"""Vision backbones: weights from a folder or a file, a new head, positions for another size; a real small network."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.composing import run_config
from wegeft import models
from wegeft.config import ModelConfig
from wegeft.errors import UserError
from wegeft.models.image_classifier import ImageInput

CPU = torch.device("cpu")
ARGUMENTS: dict[str, Any] = {"img_size": 16, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4}


def local(folder: Path, **changes: Any) -> ModelConfig:
    """`model=local_vit` with seven classes."""
    config = run_config("task=own/files", "model=local_vit", f"model.source={folder}", "task.classes=7").model
    return config.model_copy(update=changes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny network with a head of five classes, saved as timm saves it."""
    torch.manual_seed(0)
    network = timm.create_model("vit_tiny_patch16_224", num_classes=5, **ARGUMENTS)
    path = tmp_path / "network"
    path.mkdir()
    save_file(network.state_dict(), path / "model.safetensors")
    (path / "config.json").write_text(json.dumps({"architecture": "vit_tiny_patch16_224", "model_args": ARGUMENTS}))
    return path


def test_weights_are_read_and_the_head_is_new(folder: Path) -> None:
    torch.manual_seed(1)
    backbone = models.load(local(folder), CPU)
    assert backbone.processor == ImageInput(size=16, positions=5)
    network = timm.create_model("vit_tiny_patch16_224", num_classes=5, **ARGUMENTS)
    torch.manual_seed(0)
    again = models.load(local(folder), CPU)
    body = [name for name in network.state_dict() if not name.startswith("head.")]
    assert all(torch.equal(backbone.model.state_dict()[name], again.model.state_dict()[name]) for name in body)
    heads = [one.model.get_parameter("head.weight") for one in (backbone, again)]
    assert heads[0].shape == (7, 32)
    assert not torch.equal(heads[0], heads[1])


def test_a_file_alone_needs_the_architecture_from_the_config(folder: Path) -> None:
    stated = {"name": "vit_tiny_patch16_224", **ARGUMENTS}
    one = models.load(local(folder / "model.safetensors", architecture=stated), CPU).model
    other = models.load(local(folder), CPU).model
    assert torch.equal(one.get_parameter("blocks.1.attn.proj.weight"), other.get_parameter("blocks.1.attn.proj.weight"))


def test_positions_are_resampled_to_another_size(folder: Path) -> None:
    stated = {"name": "vit_tiny_patch16_224", **ARGUMENTS, "img_size": 32}
    assert models.load(local(folder, architecture=stated), CPU).processor == ImageInput(size=32, positions=17)


def test_what_does_not_fit_is_said(folder: Path, tmp_path: Path) -> None:
    deeper = {"name": "vit_tiny_patch16_224", **ARGUMENTS, "depth": 3}
    with pytest.raises(UserError, match=r"does not fit the architecture of model=local_vit: blocks\.2"):
        models.load(local(folder, architecture=deeper), CPU)
    wider = {"name": "vit_tiny_patch16_224", **ARGUMENTS, "embed_dim": 64}
    with pytest.raises(UserError, match="cls_token, pos_embed, patch_embed"):
        models.load(local(folder, architecture=wider), CPU)
    with pytest.raises(UserError, match=r"model\.source=\S+: \S+config\.json does not exist"):
        models.skeleton(local(tmp_path))
    (folder / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"config\.json states no `architecture`"):
        models.skeleton(local(folder))
    (folder / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="is not a safetensors file"):
        models.load(local(folder, architecture=deeper), CPU)
    with pytest.raises(UserError, match="it must be a folder"):
        models.load(local(Path("some-one/some-network"), architecture=deeper), CPU)


def test_a_real_post_norm_network_computes_what_torchs_encoder_does(
    real_data: Path, project_root: Path, tmp_path: Path
) -> None:
    archive = real_data / "weights" / "vit_cifar10_811k" / "weights.npz"
    script = project_root / "scripts" / "import_post_norm_vit.py"
    subprocess.run([sys.executable, str(script), str(archive), str(tmp_path / "vit"), "--heads", "8"], check=True)
    backbone = models.load(local(tmp_path / "vit"), CPU)
    assert backbone.processor == ImageInput(size=32, positions=65)
    image_BCHW = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    seen: list[Tensor] = []
    backbone.model.get_submodule("head").register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        backbone.model(image_BCHW)
        torch.testing.assert_close(seen[0], reference_features(archive, image_BCHW), rtol=0, atol=1e-4)


def reference_features(archive: Path, image_BCHW: Tensor) -> Tensor:
    """What the head sees, by torch's own encoder with the archive's own names."""
    with np.load(archive, allow_pickle=False) as arrays:
        state = {name: torch.from_numpy(arrays[name]) for name in arrays}
    layer = nn.TransformerEncoderLayer(128, 8, 256, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False).eval()
    prefix = "transformer."
    encoder.load_state_dict({n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)})
    weight, bias = state["patch_embed.proj.weight"], state["patch_embed.proj.bias"]
    patches_BND = nn.functional.conv2d(image_BCHW, weight, bias, stride=4).flatten(2).transpose(1, 2)
    x_BLD = torch.cat([state["cls_token"].expand(2, -1, -1), patches_BND], dim=1) + state["pos_embed"]
    norm = state["mlp_head.0.weight"], state["mlp_head.0.bias"]
    return nn.functional.layer_norm(encoder(x_BLD)[:, 0], (128,), *norm)
