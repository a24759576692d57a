"""Numbers of trainable parameters on the paper's backbones, from the architecture alone, against the papers'."""

import functools

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from tests.methods.tiny import compose_config
from wegeft import models
from wegeft.config import ModelConfig
from wegeft.methods import build_method

QV = "method.target_modules=[q_proj,v_proj]"
R32 = ("method.r=32", "method.alpha=64")
RANK_1024 = ("method.options={r: 1024}",)


@functools.cache
def skeleton(model: str) -> nn.Module:
    """The architecture of `configs/model/<model>.yaml` on the meta device."""
    architecture = dict(compose_config(f"model={model}", "scale=paper")["model"]["architecture"])
    config = AutoConfig.for_model(architecture.pop("model_type"), **architecture)
    with torch.device("meta"):
        backbone: nn.Module = AutoModelForCausalLM.from_config(config)
    return backbone


@pytest.mark.parametrize(("model", "total"), [("llama2_7b", 6_738_415_616), ("llama3_8b", 8_030_261_248)])
def test_backbones(model: str, total: int) -> None:
    assert sum(p.numel() for p in skeleton(model).parameters()) == total


@pytest.mark.parametrize(
    ("model", "method", "overrides", "count"),
    [
        ("llama2_7b", "wegeft", (), 3_506_176),
        ("llama3_8b", "wegeft", (), 3_932_160),
        ("llama2_7b", "wegeft", (QV,), 1_048_576),
        ("llama3_8b", "wegeft", (QV,), 1_048_576),
        ("llama2_7b", "wegeft", (QV, "method.recipe=v3"), 1_048_576),
        ("llama2_7b", "wegeft", (QV, "method.r=16"), 262_144),
        ("llama2_7b", "wegeft", ("method.target_modules=[o_proj]", "method.r=128"), 1_048_576),
        ("llama2_7b", "wegeft", ("method.sharing=per_layer", "method.r=2"), 3_506_176),
        ("llama3_8b", "wegeft", ("method.sharing=per_layer", "method.r=2"), 3_932_160),
        ("llama2_7b", "lora", R32, 56_098_816),
        ("llama3_8b", "lora", R32, 56_623_104),
        ("llama2_7b", "lora", (), 28_049_408),
        ("llama3_8b", "lora", (), 28_311_552),
        ("llama2_7b", "dora", R32, 56_975_360),
        ("llama3_8b", "dora", R32, 57_409_536),
        ("llama2_7b", "dora", (), 28_925_952),
        ("llama3_8b", "dora", (), 29_097_984),
        ("llama2_7b", "red", (), 262_144),
        ("llama2_7b", "peft", RANK_1024, 1_040_384),
        ("llama3_8b", "peft", RANK_1024, 950_272),
        ("llama2_7b", "full", (), 6_738_415_616),
        ("llama2_7b", "none", (), 0),
    ],
)
def test_published_counts(model: str, method: str, overrides: tuple[str, ...], count: int) -> None:
    backbone = skeleton(model)
    lines = (f"method={method}", "scale=paper", f"model={model}", *overrides)
    adapter = build_method(compose_config(*lines)["method"])
    adapter.attach(backbone)
    try:
        assert adapter.parameter_count() == count
        assert all(p.is_meta for p in backbone.parameters())
    finally:
        adapter.detach()


@functools.cache
def vision_skeleton(model: str) -> nn.Module:
    """A vision backbone on the meta device, with a head of 100 classes."""
    node = compose_config(f"model={model}", "scale=paper", "task=fgvc/cub")["model"]
    return models.skeleton(ModelConfig.model_validate({**node, "classes": 100}))


@pytest.mark.parametrize(
    ("model", "total"),
    [("vit_b16_in21k", 85_798_656), ("vit_b16_mae", 85_798_656), ("vit_b14_dinov2", 85_724_928)],
)
def test_vision_backbones(model: str, total: int) -> None:
    assert sum(p.numel() for p in vision_skeleton(model).parameters()) == total + 76_900


@pytest.mark.parametrize(
    ("method", "overrides", "count"),
    [
        ("wegeft", (), 24_576),
        ("lora", (), 147_456),
        ("dora", (), 147_456 + 12 * 768),
        ("bitfit", (), 82_944),
        ("vpt", (), 46_080),
        ("vpt_shallow", (), 3_840),
        ("ssf", (), 205_824),
        ("red", (), 2 * 768 * 12),
        ("linear_probe", (), 0),
        ("none", (), 0),
        ("full", (), 85_798_656),
    ],
)
def test_published_counts_in_vision(method: str, overrides: tuple[str, ...], count: int) -> None:
    """The head (76,900 for 100 classes) is trained by every method and counted by none."""
    backbone = vision_skeleton("vit_b16_in21k")
    lines = (f"method={method}", "scale=paper", "task=fgvc/cub", *overrides)
    adapter = build_method(compose_config(*lines)["method"])
    adapter.attach(backbone, ["head"])
    try:
        assert adapter.parameter_count() == count
        assert sum(p.numel() for p in adapter.trainable().values()) == count + 76_900
        assert all(p.is_meta for p in backbone.parameters())
    finally:
        adapter.detach()
