"""Numbers of trainable parameters on the paper's backbones, from the architecture alone, against the papers'."""

import functools

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from tests.methods.tiny import compose_config
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
