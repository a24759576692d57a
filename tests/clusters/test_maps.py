"""Cluster maps: the product that the paper shows, before and after the change, and what stands out in them."""

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from tests.composing import run_config
from wegeft.clusters.maps import cluster_maps, heat, share_inside
from wegeft.clusters.scores import layer_score
from wegeft.errors import UserError
from wegeft.methods import build_method
from wegeft.methods.base import Method


def attached(*overrides: str) -> Method:
    """A method with factors that are not zero, in a small ViT with random weights."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
    model = timm.create_model("vit_tiny_patch16_224", num_classes=3, **sizes)
    method = build_method(run_config("task=fgvc/cub", "method.target_modules=[attn.proj]", *overrides).method)
    method.attach(model, ["head"])
    with torch.no_grad():
        for name, parameter in method.trainable().items():
            if not method.in_head(name):
                parameter.normal_()
    return method


def images() -> Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def layer_outputs(model: nn.Module, name: str, input_BCHW: Tensor) -> Tensor:
    """What the (adapted) layer ``name`` computes."""
    seen: list[Tensor] = []
    handle = model.get_submodule(name).register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    with torch.inference_mode():
        model.eval()(input_BCHW)
    handle.remove()
    return seen[0]


def test_a_map_is_the_generated_factor_times_the_output_at_each_patch() -> None:
    method = attached("method=wegeft")
    logits_BK, maps = cluster_maps(method, images())
    assert logits_BK.shape == (2, 3)
    assert list(maps) == ["blocks.0.attn.proj", "blocks.1.attn.proj"]
    factors = method.lora_factors()
    assert factors is not None
    for name, own in maps.items():
        _, b_OR = factors[name]
        y_BNO = layer_outputs(method.backbone, name, images())
        expected_BNR = y_BNO[:, 1:] @ b_OR.float()
        after_BRN = own.after_BRHW.flatten(2)
        torch.testing.assert_close(after_BRN.transpose(1, 2), expected_BNR, rtol=1e-3, atol=1e-3)
        assert own.after_BRHW.shape == (2, method.config.r, 4, 4)  # type: ignore[attr-defined]  # WeGeFT's config


def test_before_the_change_is_what_the_frozen_layer_says() -> None:
    method = attached("method=wegeft")
    _, maps = cluster_maps(method, images())
    factors = method.lora_factors()
    assert factors is not None
    _, b_OR = factors["blocks.0.attn.proj"]
    method.disable()
    y_BNO = layer_outputs(method.backbone, "blocks.0.attn.proj", images())  # the first block has the same input
    before_BRN = maps["blocks.0.attn.proj"].before_BRHW.flatten(2)
    torch.testing.assert_close(before_BRN.transpose(1, 2), y_BNO[:, 1:] @ b_OR.float(), rtol=1e-3, atol=1e-3)
    assert not torch.allclose(before_BRN, maps["blocks.0.attn.proj"].after_BRHW.flatten(2), atol=0.1)


@pytest.mark.parametrize("targets", ["[attn.qkv.v]", "[mlp.fc1,mlp.fc2]"])
def test_parts_and_other_layers_have_maps_too(targets: str) -> None:
    _, maps = cluster_maps(attached("method=lora", f"method.target_modules={targets}"), images())
    assert {own.after_BRHW.shape[2:] for own in maps.values()} == {(4, 4)}
    assert all(torch.isfinite(own.after_BRHW).all() for own in maps.values())


def test_a_method_without_factors_is_refused() -> None:
    method = build_method(run_config("task=fgvc/cub", "method=full").method)
    method.attach(timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=1), ["head"])
    with pytest.raises(UserError, match="full has none"):
        cluster_maps(method, images())


def test_heat_spans_zero_to_one_and_hides_the_lower_half() -> None:
    maps_BRHW = torch.arange(16.0).view(1, 1, 4, 4)
    shown_BRHW = heat(maps_BRHW, 4, 4)
    assert shown_BRHW.flatten().tolist() == pytest.approx([0.0] * 8 + [i / 15 for i in range(8, 16)])
    assert heat(-5 * maps_BRHW, 32, 32).amax() == 1
    assert heat(maps_BRHW, 32, 32).shape == (1, 1, 32, 32)


@pytest.mark.parametrize("value", [0.0, 3.7, -1e6])
def test_a_constant_map_shows_nothing_and_is_nowhere(value: float) -> None:
    shown_BRHW = heat(torch.full((1, 2, 4, 4), value), 32, 32)
    assert shown_BRHW.abs().sum() == 0
    share_BR = share_inside(shown_BRHW, torch.ones(1, 32, 32, dtype=torch.bool))
    assert share_BR.isnan().all()
    score = layer_score([share_BR])
    assert (score.mean, score.best, score.without_heat) == (None, None, 2)


def test_the_share_inside_is_that_of_the_heat_on_the_marked_pixels() -> None:
    heat_BRHW = torch.zeros(1, 2, 4, 4)
    heat_BRHW[0, 0, 0, 0] = heat_BRHW[0, 0, 3, 3] = 0.8
    heat_BRHW[0, 1, 1, 1] = 1.0
    inside_BHW = torch.zeros(1, 4, 4, dtype=torch.bool)
    inside_BHW[0, :2, :2] = True
    assert share_inside(heat_BRHW, inside_BHW).tolist() == [[0.5, 1.0]]


def test_a_layer_s_score_leaves_out_maps_without_heat_and_names_the_best_cluster() -> None:
    nan = float("nan")
    score = layer_score([torch.tensor([[0.2, 0.6]]), torch.tensor([[nan, 0.8]])])
    assert score.mean == pytest.approx((0.2 + 0.6 + 0.8) / 3)
    assert (score.best, score.without_heat) == (1, 1)
    assert score.best_mean == pytest.approx(0.7)
