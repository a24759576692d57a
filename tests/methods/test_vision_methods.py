"""What is special to the methods on images: where prompts stand, what is folded where, which biases move."""

import math

import pytest
import torch
from torch import nn

from tests.methods.tiny import attach, images, logits, method_from_yaml, perturb, tiny_llama, tiny_vit
from wegeft.errors import UserError
from wegeft.methods.ssf import SSF
from wegeft.methods.vpt import VPT

T = 5
PATCHES = 4


def adapted(name: str, *overrides: str) -> tuple[nn.Module, VPT | SSF]:
    backbone = tiny_vit()
    method = attach(method_from_yaml(name, *overrides, family="image_classifier"), backbone)
    assert isinstance(method, VPT | SSF)
    return backbone, method


@pytest.mark.parametrize(("name", "blocks"), [("vpt", 2), ("vpt_shallow", 1)])
def test_blocks_see_prompts_and_the_head_does_not(name: str, blocks: int) -> None:
    backbone, method = adapted(name)
    seen = []
    for block in backbone.get_submodule("blocks"):  # type: ignore[attr-defined]  # a sequence of blocks
        block.base.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[1]))
    backbone.get_submodule("norm").register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[1]))
    logits(backbone)
    assert seen == [1 + T + PATCHES] * 2 + [1 + PATCHES]
    assert len(method.trainable()) == blocks


def test_deep_prompts_take_the_places_of_the_old_ones() -> None:
    """By hand: prompts in after the class token, the block's outputs for them out again, fresh ones in."""
    backbone, method = adapted("vpt")
    first, second = method.trainable().values()
    plain = tiny_vit()
    with torch.no_grad():
        x = plain._pos_embed(plain.patch_embed(images(plain)))
        for block, prompts in zip(plain.blocks, (first, second), strict=True):
            x = block(torch.cat([x[:, :1], prompts.expand(3, -1, -1), x[:, 1:]], dim=1))
            x = torch.cat([x[:, :1], x[:, 1 + T :]], dim=1)
        expected = plain.forward_head(plain.norm(x))
    torch.testing.assert_close(logits(backbone), expected, rtol=0, atol=1e-5)


def test_prompts_start_in_the_published_range() -> None:
    backbone, method = adapted("vpt", "tokens=200")
    del backbone
    bound = math.sqrt(6 / (3 * 8 * 8 + 32))
    values = torch.cat([p.flatten() for p in method.trainable().values()])
    assert 0.98 * bound < values.max() <= bound
    assert -bound <= values.min() < -0.98 * bound


def test_prompts_need_a_vision_transformer() -> None:
    with pytest.raises(UserError, match="method=vpt needs a vision transformer"):
        attach(method_from_yaml("vpt", family="image_classifier"), tiny_llama())


def test_ssf_with_ones_and_zeros_is_the_plain_backbone() -> None:
    backbone, method = adapted("ssf")
    plain = logits(tiny_vit())
    assert not torch.equal(logits(backbone), plain)
    with torch.no_grad():
        for name, parameter in method.trainable().items():
            parameter.fill_(1.0 if "scale" in name else 0.0)
    assert torch.equal(logits(backbone), plain)


def test_ssf_follows_every_operation_once() -> None:
    _, method = adapted("ssf")
    sites = {name.split(".")[2].replace(":", ".") for name in method.trainable()}
    in_a_block = {"norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"}
    assert sites == {f"blocks.{i}.{op}" for i in (0, 1) for op in in_a_block} | {"patch_embed.proj", "norm"}


def test_bitfit_moves_biases_of_linear_layers_alone() -> None:
    backbone = tiny_vit()
    method = attach(method_from_yaml("bitfit", family="image_classifier"), backbone)
    perturb(method)
    method.merge()
    method.detach()
    moved = {
        name for name, value in backbone.state_dict().items() if not torch.equal(value, tiny_vit().state_dict()[name])
    }
    linear = {f"{name}.bias" for name, m in tiny_vit().named_modules() if isinstance(m, nn.Linear) and name != "head"}
    assert moved == linear
