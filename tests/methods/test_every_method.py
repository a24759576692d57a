"""What every method must do, for every file of `configs/method` on a tiny backbone of every kind that it works on."""

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tests.methods.tiny import (
    CASES,
    METHODS,
    TASKS,
    attach,
    compose_config,
    logits,
    loss,
    method_from_yaml,
    perturb,
    skip_untrained,
    tiny_backbone,
    tiny_llama,
    token_ids,
)
from wegeft.errors import UserError
from wegeft.methods import build_method
from wegeft.methods.base import Method
from wegeft.schema import Strict
from wegeft.training.loop import recompute_activations

HEADS = {"causal_lm": "lm_head", "image_classifier": "head"}
every_method = pytest.mark.parametrize(("name", "family"), CASES)


def adapted(name: str, family: str, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, Method]:
    """A tiny backbone with the method on it, moved away from its start."""
    backbone = tiny_backbone(family, dtype=dtype)
    method = attach(method_from_yaml(name, family=family), backbone)
    perturb(method)
    return backbone, method


def step(backbone: nn.Module, method: Method) -> None:
    """One step of plain gradient descent in training mode."""
    skip_untrained(method)
    backbone.train()
    loss(backbone).backward()
    with torch.no_grad():
        for parameter in method.trainable().values():
            if parameter.grad is not None:
                parameter.sub_(0.1 * parameter.grad)
    backbone.eval()


@every_method
def test_starts_as_the_plain_backbone(name: str, family: str) -> None:
    backbone = tiny_backbone(family)
    plain = logits(backbone)
    method = attach(method_from_yaml(name, family=family), backbone)
    if method.identity_at_init:
        assert torch.equal(logits(backbone), plain)


@every_method
def test_a_step_moves_only_the_method(name: str, family: str) -> None:
    backbone = tiny_backbone(family)
    method = attach(method_from_yaml(name, family=family), backbone)
    before = {k: p.detach().clone() for k, p in backbone.named_parameters()}
    step(backbone, method)
    trainable = method.trainable()
    assert any(not torch.equal(p, before[k]) for k, p in trainable.items())
    frozen = {k: p for k, p in backbone.named_parameters() if k not in trainable}
    assert all(p.grad is None and torch.equal(p, before[k]) for k, p in frozen.items())


@every_method
def test_a_detached_backbone_is_the_plain_one(name: str, family: str) -> None:
    backbone = tiny_backbone(family)
    plain = backbone.state_dict()
    method = attach(method_from_yaml(name, family=family), backbone)
    if not method.trainable().keys() & plain.keys():
        perturb(method)
    method.detach()
    assert backbone.state_dict().keys() == plain.keys()
    assert all(torch.equal(v, plain[k]) for k, v in backbone.state_dict().items())
    assert not any(p.requires_grad for p in backbone.parameters())


@every_method
def test_saved_and_loaded_gives_the_same_logits(name: str, family: str, tmp_path: Path) -> None:
    backbone, method = adapted(name, family)
    save_file(method.adapter_state(), tmp_path / "adapter.safetensors")
    fresh = tiny_backbone(family)
    torch.manual_seed(99)
    other = method_from_yaml(name, family=family)
    other.attach(fresh)
    other.load_adapter_state(load_file(tmp_path / "adapter.safetensors"))
    assert torch.equal(logits(fresh.eval()), logits(backbone))


@every_method
def test_a_foreign_adapter_is_refused(name: str, family: str) -> None:
    _, method = adapted(name, family)
    with pytest.raises(UserError, match="stranger"):
        method.load_adapter_state({**method.adapter_state(), "stranger": torch.zeros(1)})
    state = method.adapter_state()
    if state:
        first = next(iter(state))
        with pytest.raises(UserError, match="shape"):
            method.load_adapter_state({**state, first: torch.zeros(1, 2, 3)})


@every_method
def test_merged_equals_adapted(name: str, family: str) -> None:
    backbone, method = adapted(name, family, torch.float64)
    if not method.mergeable:
        pytest.skip("no weight can take it in")
    before = logits(backbone)
    method.merge()
    method.merge()  # twice is the same as once
    torch.testing.assert_close(logits(backbone), before, rtol=0, atol=1e-10)
    method.detach()
    torch.testing.assert_close(logits(backbone), before, rtol=0, atol=1e-10)
    assert {type(m).__name__ for m in backbone.modules()} == {type(m).__name__ for m in tiny_backbone(family).modules()}


@every_method
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_unmerging_restores_every_bit(name: str, family: str, dtype: torch.dtype) -> None:
    backbone = tiny_backbone(family, dtype=dtype)
    method = attach(method_from_yaml(name, family=family), backbone)
    perturb(method)
    before, state = logits(backbone), {k: v.clone() for k, v in backbone.state_dict().items()}
    method.merge()
    method.unmerge()
    assert backbone.state_dict().keys() == state.keys()
    assert all(torch.equal(v, state[k]) for k, v in backbone.state_dict().items())
    assert torch.equal(logits(backbone), before)


@every_method
def test_what_moved_while_it_was_merged_is_unmerged_there(name: str, family: str) -> None:
    backbone = tiny_backbone(family)
    plain = {k: v.double() for k, v in backbone.state_dict().items()}
    method = attach(method_from_yaml(name, family=family), backbone)
    perturb(method)
    trained = method.trainable().keys()
    method.merge()
    backbone.double()
    method.unmerge()
    if method.mergeable:
        method.detach()
    state = backbone.state_dict()
    assert {v.dtype for v in state.values()} == {torch.float64}
    assert all(torch.equal(state[k], v) for k, v in plain.items() if k in state and k not in trained)


@every_method
def test_an_adapter_is_at_work_once_it_is_loaded(name: str, family: str) -> None:
    _, other = adapted(name, family)
    expected, state = logits(other.backbone), {k: v.clone() for k, v in other.adapter_state().items()}
    backbone = tiny_backbone(family)
    method = attach(method_from_yaml(name, family=family), backbone)
    method.merge()
    method.load_adapter_state(state)
    assert torch.equal(logits(backbone), expected)


@every_method
def test_training_under_autocast_has_the_gradients_of_full_precision(name: str, family: str) -> None:
    backbone, method = adapted(name, family)
    skip_untrained(method)
    backbone.train()
    found = []
    for enabled in (False, True):
        torch.manual_seed(0)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            value = loss(backbone)
        value.backward()
        found.append(torch.cat([p.grad.flatten() for p in method.trainable().values() if p.grad is not None]))
        backbone.zero_grad()
    assert torch.cosine_similarity(found[0], found[1], dim=0) > 0.99


@every_method
def test_exported_lora_equals_the_method(name: str, family: str) -> None:
    backbone, method = adapted(name, family, torch.float64)
    factors = method.lora_factors()
    if factors is None:
        pytest.skip("no LoRA")
    plain = tiny_backbone(family, dtype=torch.float64)
    with torch.no_grad():
        for module, (a_RI, b_OR) in factors.items():
            plain.get_parameter(f"{module}.weight").add_(b_OR @ a_RI)
    torch.testing.assert_close(logits(plain), logits(backbone), rtol=0, atol=1e-10)


@every_method
def test_gradients_are_finite_in_bf16(name: str, family: str) -> None:
    backbone = tiny_backbone(family, dtype=torch.bfloat16)
    method = attach(method_from_yaml(name, family=family), backbone)
    perturb(method)
    skip_untrained(method)
    backbone.train()
    loss(backbone).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.trainable().values())


@pytest.mark.parametrize("name", METHODS)
def test_greedy_text_does_not_depend_on_the_batch(name: str) -> None:
    backbone, _ = adapted(name, "causal_lm")
    prompts = [token_ids(16, 12)[i, : 4 + i % 9].tolist() for i in range(16)]
    texts = {size: generate(backbone, prompts, size) for size in (1, 4, 16)}
    assert texts[1] == texts[4] == texts[16]


def generate(backbone: nn.Module, prompts: list[list[int]], batch: int) -> list[list[int]]:
    """Eight greedy tokens after each prompt, left-padded in batches."""
    texts = []
    for start in range(0, len(prompts), batch):
        rows = prompts[start : start + batch]
        length = max(map(len, rows))
        ids = torch.tensor([[0] * (length - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])
        output = backbone.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=8)  # type: ignore[operator]  # a transformers model
        texts += output[:, length:].tolist()
    return texts


@every_method
def test_checkpointed_gradients_are_the_same(name: str, family: str) -> None:
    gradients = []
    for checkpointing in (False, True):
        backbone = tiny_backbone(family)
        method = attach(method_from_yaml(name, family=family), backbone)
        perturb(method)
        skip_untrained(method)
        if checkpointing:
            recompute_activations(backbone, True)
        backbone.train()
        torch.manual_seed(5)  # the same dropout masks
        loss(backbone).backward()
        gradients.append([p.grad for p in method.trainable().values()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-7)


@every_method
def test_a_copy_of_the_backbone_is_independent(name: str, family: str) -> None:
    backbone, _ = adapted(name, family)
    before = logits(backbone)
    twin = copy.deepcopy(backbone)
    assert torch.equal(logits(twin), before)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.zero_()
    assert torch.equal(logits(twin), before)


@every_method
def test_counts_on_the_meta_device_equal_the_real_ones(name: str, family: str) -> None:
    with torch.device("meta"):
        skeleton = tiny_backbone(family)
    method = attach(method_from_yaml(name, family=family), skeleton)
    real = attach(method_from_yaml(name, family=family), tiny_backbone(family))
    assert method.parameter_count() == real.parameter_count()
    assert {k: v.shape for k, v in method.trainable().items()} == {k: v.shape for k, v in real.trainable().items()}


@every_method
def test_a_head_is_trained_saved_and_not_counted(name: str, family: str) -> None:
    backbone = tiny_backbone(family)
    method = attach(method_from_yaml(name, family=family), backbone, [HEADS[family]])
    heads = {k: p for k, p in backbone.named_parameters() if k.startswith(f"{HEADS[family]}.")}
    assert all(parameter.requires_grad for parameter in heads.values())
    assert heads.keys() <= method.adapter_state().keys()
    without = attach(method_from_yaml(name, family=family), tiny_backbone(family))
    already_counted = sum(p.numel() for k, p in heads.items() if k in without.trainable())
    assert method.parameter_count() == without.parameter_count() - already_counted


@every_method
def test_every_scale_has_a_learning_rate(name: str, family: str) -> None:
    method = compose_config(f"method={name}", f"task={TASKS[family]}")["method"]
    assert set(method["learning_rates"]) == {"mini", "small", "paper"}
    for scale in ("small", "paper"):
        build_method(compose_config(f"method={name}", f"scale={scale}", f"task={TASKS[family]}")["method"])


def test_an_unknown_head_is_refused() -> None:
    with pytest.raises(UserError, match=r"model.head_modules=socre is not in the backbone; it has .*lm_head"):
        attach(method_from_yaml("none"), tiny_llama(), ["socre"])


class NoMethod:
    Config = Strict


def test_a_class_that_is_no_method_is_refused() -> None:
    with pytest.raises(UserError, match="is not a subclass"):
        build_method({"_target_": "tests.methods.test_every_method.NoMethod"})
