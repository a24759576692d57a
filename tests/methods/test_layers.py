"""Layers that store their weight in other ways: GPT-2's Conv1D, fused projections of a ViT, quantised weights."""

import importlib.util
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from tests.methods.tiny import attach, logits, loss, method_from_yaml, perturb, tiny_llama
from wegeft.errors import UserError
from wegeft.methods.base import Method
from wegeft.methods.frozen import view_of
from wegeft.methods.linear import AdaptedLinear

LINEAR_METHODS = ["wegeft", "lora", "dora", "red"]
RANK = {"wegeft": ["r=4", "weight_dropout=0"], "lora": ["r=4"], "dora": ["r=4"], "red": []}


def on(name: str, backbone: nn.Module, targets: str) -> Method:
    method = attach(method_from_yaml(name, f"target_modules={targets}", *RANK[name]), backbone)
    perturb(method)
    return method


def tiny_gpt2() -> nn.Module:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=61, n_positions=16, n_embd=24, n_layer=2, n_head=2, initializer_range=0.2)
    backbone: nn.Module = GPT2LMHeadModel(config)
    return backbone.to(torch.float64).eval()


def tiny_vit() -> nn.Module:
    torch.manual_seed(0)
    vit: nn.Module = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=16, embed_dim=24, depth=2, num_heads=2, num_classes=5
    )
    return vit.double().eval()


def classes(vit: nn.Module) -> Tensor:
    images = torch.randn(3, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        output: Tensor = vit(images)
    return output


@pytest.mark.parametrize("targets", ["[attn.c_proj,mlp.c_fc]", "[attn.c_attn]", "[c_attn.q,c_attn.v]"])
@pytest.mark.parametrize("name", LINEAR_METHODS)
def test_conv1d(name: str, targets: str) -> None:
    backbone = tiny_gpt2()
    plain = logits(backbone)
    method = on(name, backbone, targets)
    adapted = logits(backbone)
    assert not torch.equal(adapted, plain)
    loss(backbone).backward()
    assert all(p.grad is not None for p in method.trainable().values())
    method.merge()
    torch.testing.assert_close(logits(backbone), adapted, rtol=0, atol=1e-10)
    method.detach()
    torch.testing.assert_close(logits(backbone), adapted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("side", ["input", "output"])
@pytest.mark.parametrize("parts", ["q", "v", "qv", "kv", "qkv"])
def test_any_subset_of_a_fused_projection(parts: str, side: str) -> None:
    targets = ",".join(f"attn.qkv.{part}" for part in parts)
    backbone = tiny_vit()
    plain = {name: value.clone() for name, value in backbone.state_dict().items()}
    method = attach(
        method_from_yaml("wegeft", "recipe=vision", "r=4", f"side={side}", f"target_modules=[{targets}]"), backbone
    )
    perturb(method)
    assert len(method.trainable()) == 2 * len(parts)
    adapted = classes(backbone)
    method.merge()
    torch.testing.assert_close(classes(backbone), adapted, rtol=0, atol=1e-10)
    changed = backbone.get_submodule("blocks.0.attn.qkv").weight
    assert isinstance(changed, Tensor)
    for index, part in enumerate("qkv"):
        rows = slice(24 * index, 24 * (index + 1))
        assert torch.equal(changed[rows], plain["blocks.0.attn.qkv.weight"][rows]) == (part not in parts)
    method.unmerge()
    assert torch.equal(classes(backbone), adapted)


def test_the_exported_lora_of_a_part_is_of_its_rows() -> None:
    backbone = tiny_vit()
    method = attach(method_from_yaml("lora", "r=4", "target_modules=[attn.qkv.v]"), backbone)
    perturb(method)
    factors = method.lora_factors()
    assert factors is not None
    assert {name: b.shape for name, (_, b) in factors.items()} == {
        f"blocks.{i}.attn.qkv.v": torch.Size([24, 4]) for i in range(2)
    }


def test_a_fused_layer_and_its_part_are_not_both_adapted() -> None:
    with pytest.raises(UserError, match=r"names both blocks.0.attn.qkv and its part blocks.0.attn.qkv.q"):
        on("lora", tiny_vit(), "[attn.qkv,attn.qkv.q]")


def test_a_layer_of_another_class_has_no_view() -> None:
    assert view_of(nn.Conv2d(3, 3, 1)) is None


def int8(backbone: nn.Module) -> None:
    quantization = pytest.importorskip("torchao.quantization", reason="torchao is not installed")
    quantization.quantize_(backbone, quantization.Int8WeightOnlyConfig(), _is_adapted)


def nf4(backbone: nn.Module) -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    _replace(backbone, lambda i, o: bitsandbytes.nn.Linear4bit(i, o, bias=False, quant_type="nf4"))


def llm_int8(backbone: nn.Module) -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    _replace(backbone, lambda i, o: bitsandbytes.nn.Linear8bitLt(i, o, bias=False, has_fp16_weights=False))


def _is_adapted(module: nn.Module, name: str) -> bool:
    return isinstance(module, nn.Linear) and name.endswith(("q_proj", "down_proj"))


def _replace(backbone: nn.Module, build: Any) -> None:
    for name, module in list(backbone.named_modules()):
        if isinstance(module, nn.Linear) and _is_adapted(module, name):
            layer = build(module.in_features, module.out_features)
            layer.load_state_dict(module.state_dict())
            backbone.set_submodule(name, layer.to("cpu"))


@pytest.mark.filterwarnings("ignore")  # what these packages say when they are imported without a GPU
@pytest.mark.parametrize("quantise", [int8, nf4, llm_int8], ids=["torchao_int8", "bnb_nf4", "bnb_int8"])
@pytest.mark.parametrize("name", LINEAR_METHODS)
def test_quantised_backbone(name: str, quantise: Any) -> None:
    backbone = tiny_llama()
    quantise(backbone)
    backbone.eval()
    plain = logits(backbone)
    method = attach(method_from_yaml(name, "target_modules=[q_proj,down_proj]", *RANK[name]), backbone)
    torch.testing.assert_close(logits(backbone), plain, rtol=0, atol=1e-5)
    perturb(method)
    adapted = logits(backbone)
    assert not torch.allclose(adapted, plain)
    loss(backbone).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.trainable().values())
    assert not method.mergeable
    with pytest.raises(UserError, match=r"evaluation\.merge=false"):
        method.merge()
    dense = dequantised(method)
    torch.testing.assert_close(logits(dense), adapted, rtol=0.05, atol=0.05 * adapted.abs().max().item())


def dequantised(method: Method) -> nn.Module:
    """A dense Llama with the values of the quantised weights and the same adapter."""
    dense = tiny_llama()
    for name, module in method.backbone.named_modules():
        if isinstance(module, AdaptedLinear):
            with torch.no_grad():
                dense.get_parameter(f"{name}.weight").copy_(module.view.weight)
    twin = attach(type(method)(method.config), dense)
    twin.load_adapter_state({k.replace(".base.", "."): v for k, v in method.adapter_state().items()})
    return dense


@pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="torchao is not installed")
def test_the_input_form_reads_no_dequantised_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = tiny_llama()
    int8(backbone)
    method = attach(method_from_yaml("wegeft", *RANK["wegeft"]), backbone)

    def refuse(_: object) -> Tensor:
        raise AssertionError("dequantised")

    monkeypatch.setattr("wegeft.methods.frozen.QuantisedLinear.weight", property(refuse))
    loss(backbone).backward()
    assert method.trainable()
