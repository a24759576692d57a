"""Switching methods on and off, and several methods that take turns on one backbone."""

import pytest
import torch

from tests.methods.tiny import CASES, attach, logits, method_from_yaml, perturb, tiny_backbone, tiny_llama

SWITCHABLE = pytest.mark.parametrize(("name", "family"), [case for case in CASES if case[0] != "full"])


@pytest.mark.parametrize("merged", [False, True])
@SWITCHABLE
def test_disabled_is_plain_and_enabled_is_adapted(name: str, family: str, merged: bool) -> None:
    backbone = tiny_backbone(family)
    plain = logits(backbone)
    method = attach(method_from_yaml(name, family=family), backbone)
    perturb(method)
    adapted = logits(backbone)
    if merged:
        method.merge()
    method.disable()
    assert torch.equal(logits(backbone), plain)
    method.enable()
    assert torch.equal(logits(backbone), adapted)


def test_methods_take_turns() -> None:
    backbone = tiny_llama()
    outputs, methods = {}, {}
    for name in ("wegeft", "lora", "dora", "red"):
        methods[name] = attach(method_from_yaml(name), backbone)
        perturb(methods[name])
        outputs[name] = logits(backbone)
        methods[name].disable()
    for name, method in methods.items():
        method.enable()
        assert torch.equal(logits(backbone), outputs[name])
        assert set(method.trainable()) == {k for k, p in backbone.named_parameters() if p.requires_grad}
        method.disable()


@SWITCHABLE
def test_a_disabled_method_can_leave(name: str, family: str) -> None:
    backbone = tiny_backbone(family)
    method = attach(method_from_yaml(name, family=family), backbone)
    method.disable()
    method.detach()
    assert {type(m).__name__ for m in backbone.modules()} == {type(m).__name__ for m in tiny_backbone(family).modules()}
    attach(method_from_yaml("lora", family=family), backbone)


def test_two_methods_at_once_are_refused() -> None:
    backbone = tiny_llama()
    first = attach(method_from_yaml("lora"), backbone)
    with pytest.raises(RuntimeError, match="one method at a time"):
        attach(method_from_yaml("dora"), backbone)
    first.disable()
    attach(method_from_yaml("dora"), backbone)
    with pytest.raises(RuntimeError, match="disable it first"):
        first.enable()


def test_full_fine_tuning_has_no_plain_backbone_to_go_back_to() -> None:
    with pytest.raises(RuntimeError, match="no plain backbone"):
        attach(method_from_yaml("full"), tiny_llama()).disable()
