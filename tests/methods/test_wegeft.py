"""WeGeFT: its forms, its sharing, its starts, its options, its refusals."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.methods.tiny import attach, compose_config, logits, loss, method_from_yaml, perturb, tiny_llama
from wegeft.errors import UserError
from wegeft.methods import build_method, weight_dropout
from wegeft.methods.frozen import Frozen
from wegeft.methods.linear import AdaptedLinear, Site
from wegeft.methods.wegeft import (
    MULTIPLY_ADDS_PER_ELEMENT,
    InputUpdate,
    LayerSize,
    OutputUpdate,
    WeGeFT,
    WeGeFTUpdate,
    input_form_is_cheaper,
)

RECIPES = ["v5", "v3", "vision"]
SHARING = ["per_type", "equal_width", "per_layer", "[self_attn,up_proj]"]


def wegeft(*overrides: str) -> WeGeFT:
    method = method_from_yaml("wegeft", *overrides)
    assert isinstance(method, WeGeFT)
    return method


def layer_and_update(*overrides: str, bias: bool = True, size: tuple[int, int] = (24, 40)) -> tuple[Frozen, Any]:
    """A linear layer in fp64 and an update of it with random factors."""
    torch.manual_seed(0)
    base = Frozen(nn.Linear(*size, bias=bias).double())
    method = wegeft("factor_dtype=backbone", *overrides)
    update = method.build_update([Site("layer", "layer", base, "layer")]).eval()
    for parameter in update.parameters():
        nn.init.normal_(parameter)
    return base, update


def inputs(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4))


def first_steps(*overrides: str) -> dict[str, Tensor]:
    """Gradients of the shared factors at the first step."""
    backbone = tiny_llama(dtype=torch.float64)
    method = attach(wegeft("weight_dropout=0", *overrides), backbone)
    loss(backbone).backward()
    return {name: p.grad for name, p in method.trainable().items() if p.grad is not None}


@pytest.mark.parametrize("size", [(24, 40), (40, 24)], ids=["wide", "narrow"])
@pytest.mark.parametrize("bias", [True, False])
def test_three_forms_agree(size: tuple[int, int], bias: bool) -> None:
    x_NI = inputs(5, 7, size[0]).requires_grad_()
    results = []
    for form in ("input", "generated"):
        base, update = layer_and_update(f"form={form}", "weight_dropout=0", bias=bias, size=size)
        y_NO = update(base, x_NI)
        results.append((y_NO, *torch.autograd.grad(y_NO.square().sum(), [x_NI, update.phi_DR, update.psi_RD])))
    delta_OI = update.scale * base.weight @ update.phi_DR @ update.psi_RD
    y_NO = F.linear(x_NI, base.weight + delta_OI, base.bias)
    results.append((y_NO, *torch.autograd.grad(y_NO.square().sum(), [x_NI, update.phi_DR, update.psi_RD])))
    for other in results[1:]:
        for ours, theirs in zip(results[0], other, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_output_side_multiplies_from_the_left_and_spares_the_bias() -> None:
    base, update = layer_and_update("side=output", "weight_dropout=0")
    assert isinstance(update, OutputUpdate)
    weight_OI = base.weight + update.scale * update.phi_DR @ update.psi_RD @ base.weight
    x_NI = inputs(5, 24)
    torch.testing.assert_close(update(base, x_NI), F.linear(x_NI, weight_OI, base.bias), rtol=0, atol=1e-10)
    torch.testing.assert_close(update.merged(base)[0], weight_OI, rtol=0, atol=1e-10)


def test_the_bias_on_the_output_side_has_the_dtype_of_autocast() -> None:
    base, update = layer_and_update("side=output", "weight_dropout=0")
    base.layer.float()
    update.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert update(base, inputs(5, 24).float()).dtype == torch.bfloat16


def test_biases_are_those_of_two_projections_of_the_weight() -> None:
    base, update = layer_and_update("recipe=v3", "bias=true")
    delta_OI = F.linear(F.linear(base.weight, update.phi_DR.T, update.b_R), update.psi_RD.T, update.b_I)
    x_NI = inputs(5, 24)
    expected = F.linear(x_NI, base.weight + delta_OI, base.bias)
    torch.testing.assert_close(update(base, x_NI), expected, rtol=0, atol=1e-10)
    a_RI, b_OR = update.lora_factors(base)
    torch.testing.assert_close(b_OR @ a_RI, delta_OI, rtol=0, atol=1e-10)


@pytest.mark.parametrize("block", ["gelu", "sigmoid", "mlp", "mlp_mixer", "transformer"])
def test_blocks_start_as_nothing_train_and_export(block: str) -> None:
    backbone = tiny_llama(dtype=torch.float64)
    plain = logits(backbone)
    method = attach(wegeft("recipe=v3", f"block={block}", "factor_dtype=backbone", "sharing=per_type"), backbone)
    assert torch.equal(logits(backbone), plain)
    perturb(method)
    loss(backbone).backward()
    assert all(p.grad is not None and p.grad.any() for p in method.trainable().values())
    adapted = logits(backbone)
    method.merge()
    torch.testing.assert_close(logits(backbone), adapted, rtol=0, atol=1e-10)


def test_a_block_is_the_function_that_the_export_contains() -> None:
    base, update = layer_and_update("recipe=v3", "block=gelu")
    a_RI, b_OR = update.lora_factors(base)
    torch.testing.assert_close(b_OR @ a_RI, F.gelu(base.weight @ update.phi_DR) @ update.psi_RD)


@pytest.mark.parametrize(("recipe", "zero"), [("v5", "phi"), ("v3", "psi"), ("vision", "psi")])
def test_only_the_zero_factor_gets_a_gradient_at_first(recipe: str, zero: str) -> None:
    gradients = first_steps(f"recipe={recipe}")
    assert gradients
    for name, gradient in gradients.items():
        assert bool(gradient.any()) == (f".{zero}_" in name)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_other_factor_starts_uniform_over_the_width(recipe: str) -> None:
    method = attach(wegeft(f"recipe={recipe}"), tiny_llama())
    for name, parameter in method.trainable().items():
        width = 48 if "down_proj" in name else 32
        largest = parameter.abs().max().item()
        assert largest == 0 or 0.9 * width**-0.5 < largest <= width**-0.5


@pytest.mark.parametrize(("scaling", "scale"), [("alpha_over_r", 2), ("alpha_over_sqrt_r", 8), ("one", 1)])
def test_scaling(scaling: str, scale: float) -> None:
    _, update = layer_and_update("r=16", "alpha=32", f"scaling={scaling}")
    assert update.scale == pytest.approx(scale)


@pytest.mark.parametrize(
    ("sharing", "groups"),
    [("per_type", 5), ("equal_width", 2), ("per_layer", 10), ("[self_attn,up_proj]", 4), ("[q_proj|k_proj]", 7)],
)
def test_sharing(sharing: str, groups: int) -> None:
    method = attach(wegeft(f"sharing={sharing}"), tiny_llama())
    assert len(method.updates) == groups
    assert len(method.trainable()) == 2 * groups
    owners = {id(m.parts[0].update) for m in method.backbone.modules() if isinstance(m, AdaptedLinear)}
    assert len(owners) == groups


def test_one_pair_for_all_layers_of_equal_width() -> None:
    method = attach(wegeft("sharing=all", "target_modules=[q_proj,k_proj,v_proj,up_proj]"), tiny_llama())
    assert list(method.updates) == ["all"]
    assert method.parameter_count() == 2 * 32 * 16


def test_a_shared_factor_receives_the_sum_of_the_layers_gradients() -> None:
    shared = shared_gradients("per_type")
    single = shared_gradients("per_layer")
    for group, gradient in shared.items():
        parts = [g for name, g in single.items() if name.endswith(group)]
        assert len(parts) == 2
        torch.testing.assert_close(gradient, torch.stack(parts).sum(0), rtol=1e-10, atol=1e-12)


def shared_gradients(sharing: str) -> dict[str, Tensor]:
    """Gradients of factors that have the same values in every layer, by type or by layer."""
    backbone = tiny_llama(dtype=torch.float64)
    method = attach(wegeft(f"sharing={sharing}", "weight_dropout=0"), backbone)
    for parameter in method.trainable().values():
        torch.manual_seed(6)
        nn.init.normal_(parameter, std=0.1)
    loss(backbone).backward()
    return {
        f"{name}.{part}": p.grad
        for name, update in method.updates.items()
        for part, p in update.named_parameters()
        if p.grad is not None
    }


@pytest.mark.parametrize("sharing", SHARING)
@pytest.mark.parametrize("side", ["input", "output"])
def test_every_sharing_and_side_merges_and_exports(sharing: str, side: str) -> None:
    if side == "output" and sharing.startswith("["):
        sharing = "[q_proj,k_proj|v_proj,up_proj]"
    backbone = tiny_llama(dtype=torch.float64)
    method = attach(wegeft(f"sharing={sharing}", f"side={side}", "weight_dropout=0"), backbone)
    perturb(method)
    adapted = logits(backbone)
    plain = tiny_llama(dtype=torch.float64)
    factors = method.lora_factors()
    assert factors is not None
    with torch.no_grad():
        for name, (a_RI, b_OR) in factors.items():
            plain.get_parameter(f"{name}.weight").add_(b_OR @ a_RI)
    torch.testing.assert_close(logits(plain), adapted, rtol=0, atol=1e-10)
    method.merge()
    torch.testing.assert_close(logits(backbone), adapted, rtol=0, atol=1e-10)


def test_factors_come_from_the_plain_weight() -> None:
    method = attach(wegeft(), tiny_llama())
    method.merge()
    with pytest.raises(RuntimeError, match="unmerge first"):
        method.lora_factors()


def test_dropout_of_the_code_acts_while_training_only() -> None:
    base, update = layer_and_update("code_dropout=0.5", "weight_dropout=0")
    x_NI = inputs(64, 24)
    assert torch.equal(update(base, x_NI), update(base, x_NI))
    update.train()
    assert not torch.equal(update(base, x_NI), update(base, x_NI))
    code_NR = update.code(x_NI)
    assert 0.4 < (code_NR == 0).double().mean().item() < 0.6


@pytest.mark.parametrize(
    ("factor_dtype", "expected"),
    [("float32", torch.float32), ("bfloat16", torch.bfloat16), ("backbone", torch.bfloat16)],
)
def test_factor_dtype(factor_dtype: str, expected: torch.dtype) -> None:
    method = attach(wegeft(f"factor_dtype={factor_dtype}"), tiny_llama(dtype=torch.bfloat16))
    assert {p.dtype for p in method.trainable().values()} == {expected}
    assert logits(method.backbone).dtype == torch.bfloat16


def test_the_first_form_is_taken_where_it_is_cheaper(monkeypatch: pytest.MonkeyPatch) -> None:
    base, update = layer_and_update(size=(40, 24))
    assert isinstance(update, InputUpdate)
    assert update.uses_input_form(base, inputs(8, 40))
    assert not update.uses_input_form(base, inputs(400, 40))
    update.train()
    assert not update.uses_input_form(base, inputs(8, 40))  # a small weight drops as cheaply in the other form
    monkeypatch.setattr(weight_dropout, "_SPARSE_FROM", 0)  # of a large one, where 4·N·I products are fewer than 2·I·O
    assert update.uses_input_form(base, inputs(8, 40))
    assert not update.uses_input_form(base, inputs(13, 40))


@pytest.mark.parametrize(
    ("size", "passes", "is_cheaper"),
    [
        (LayerSize(512, 4096, 4096, 64), 1, True),  # 7·512 products against 6·512 and Wφ, 2·4096
        (LayerSize(512, 4096, 1024, 64), 1, True),  # 7·512 against 3.75·512 and 2·1024
        (LayerSize(2048, 4096, 1024, 64), 1, False),  # 7·2048 against 3.75·2048 and 2·1024
        (LayerSize(512, 4096, 1024, 64), 8, False),  # Wφ once for eight passes
        (LayerSize(32768, 4096, 4096, 64), 1, False),  # Wφ is nothing, and the code is not computed twice
        (LayerSize(32768, 4096, 14336, 64), 8, True),
        (LayerSize(512, 4096, 1024, 64), None, True),  # 2·512 against 1.25·512 and 1024
        (LayerSize(4096, 4096, 1024, 64), None, False),
    ],
)
def test_cost_model(size: LayerSize, passes: int | None, is_cheaper: bool) -> None:
    for balance in (0, *MULTIPLY_ADDS_PER_ELEMENT.values()):
        assert input_form_is_cheaper(size, passes, balance) == is_cheaper


def test_cost_model_where_entries_are_dropped() -> None:
    for balance in (0, *MULTIPLY_ADDS_PER_ELEMENT.values()):
        # 7·512 + 3·512 products against 6·512 and Wφ, 2·4096, which is new in each of eight passes
        assert input_form_is_cheaper(LayerSize(512, 4096, 4096, 64), 8, balance, drops_entries=True)
        assert not input_form_is_cheaper(LayerSize(4096, 4096, 4096, 64), 8, balance, drops_entries=True)


@pytest.mark.parametrize("sparse_from", [0, 1 << 40])
@pytest.mark.parametrize("form", ["input", "generated"])
def test_the_mean_over_masks_is_the_output_without_dropout(
    form: str, sparse_from: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weight_dropout, "_SPARSE_FROM", sparse_from)
    base, update = layer_and_update("weight_dropout=0.1", f"form={form}")
    x_NI = inputs(3, 24)
    exact_NO = update(base, x_NI)
    update.train()
    torch.manual_seed(0)
    outputs_KNO = torch.stack([update(base, x_NI) for _ in range(2000)])
    error_NO = (outputs_KNO.mean(0) - exact_NO).abs()
    assert (error_NO < 5 * outputs_KNO.std(0) / 2000**0.5).all()


@pytest.mark.parametrize("options", [("sharing=per_type",), ("sharing=equal_width",), ("code_dropout=0.5",)])
def test_both_forms_drop_the_same_entries(options: tuple[str, ...]) -> None:
    losses, gradients = [], []
    for form in ("input", "generated"):
        backbone = tiny_llama(dtype=torch.float64)
        method = attach(wegeft("weight_dropout=0.3", f"form={form}", "factor_dtype=backbone", *options), backbone)
        perturb(method)
        backbone.train()
        torch.manual_seed(5)
        losses.append(loss(backbone))
        gradients.append(torch.autograd.grad(losses[-1], list(method.trainable().values())))
    assert losses[0] != loss(backbone)
    torch.testing.assert_close(*losses, rtol=1e-12, atol=0)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["r=0"], "method.r=0"),
        (["r=33"], "method.r=33 is above the width of model.layers.0.self_attn.q_proj; choose at most 32"),
        (["alpha=-1"], "method.alpha=-1"),
        (["weight_dropout=1.0"], "method.weight_dropout=1.0"),
        (["zero=neither"], "method.zero=.neither.*phi.*psi"),
        (["form=weight"], "method.form=.weight.*auto.*input.*generated"),
        (["sharing=per_tipe"], "method.sharing='per_tipe' is refused: choose per_type, all, .* or a list"),
        (["sharing=all"], "sharing=all needs layers of equal input width.*q_proj has 32 and .*down_proj has 48"),
        (["sharing=[nowhere]"], "method.sharing=nowhere fits no layer"),
        (["sharing=['(']"], r"method.sharing=\( is not a regular expression"),
        (["target_modules=[q_porj]"], "method.target_modules=q_porj is not in the backbone; it has .*q_proj"),
        (["target_modules=[]"], "method.target_modules"),
        (["form=input", "bias=true"], "method.form=input has no method.bias or method.block"),
        (["block=gelu"], "method.block needs method.zero=psi"),
        (["recipe=v3", "block=mlp_mixer", "sharing=equal_width"], "method.block=mlp_mixer mixes rows"),
        (["side=output"], "method.side=output has no method.weight_dropout"),
        (["+rank=4"], "method.rank"),
    ],
)
def test_bad_input_ends_in_a_sentence(overrides: list[str], sentence: str) -> None:
    backbone = tiny_llama()
    lines = [line.removeprefix("+") for line in overrides]
    prefix = "+" if overrides[0].startswith("+") else ""
    with pytest.raises(UserError, match=sentence):
        attach(build(prefix, lines), backbone)
    assert not any(isinstance(m, AdaptedLinear | WeGeFTUpdate) for m in backbone.modules())


def build(prefix: str, lines: list[str]) -> WeGeFT:
    node = compose_config("method=wegeft", *(f"{prefix}method.{line}" for line in lines))["method"]
    method = build_method(node)
    assert isinstance(method, WeGeFT)
    return method
