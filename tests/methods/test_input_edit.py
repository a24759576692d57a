"""The input form: its gradients, what it keeps, and that layers which read the same input encode it once."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from tests.methods.tiny import attach, loss, method_from_yaml, perturb, tiny_llama
from wegeft.methods.base import Method
from wegeft.methods.input_edit import edited_inputs
from wegeft.methods.wegeft import InputUpdate

SCALE = 2.0


class Products(TorchDispatchMode):
    """Counts matrix products by the shapes of their two matrices."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.shapes: Counter[tuple[tuple[int, ...], tuple[int, ...]]] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        del types
        if func is torch.ops.aten.mm.default:
            self.shapes[tuple(args[0].shape), tuple(args[1].shape)] += 1
        return func(*args, **(kwargs or {}))


def random(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def wegeft(*overrides: str) -> tuple[nn.Module, Method]:
    """A tiny Llama with random factors in every layer's input form, training."""
    backbone = tiny_llama(dtype=torch.float64)
    method = attach(method_from_yaml("wegeft", "weight_dropout=0", "factor_dtype=backbone", *overrides), backbone)
    perturb(method)
    return backbone.train(), method


def gradients(backbone: nn.Module, method: Method, run: Callable[[nn.Module], Tensor] = loss) -> list[Tensor]:
    run(backbone).backward()
    found = [p.grad for p in method.trainable().values() if p.grad is not None]
    for parameter in method.trainable().values():
        parameter.grad = None
    return found


def test_edits_and_gradients_are_those_of_the_formula() -> None:
    torch.manual_seed(0)
    x_NI = random(3, 5, 8)
    pairs = [(random(8, 2), random(2, 8)), (random(8, 4), random(4, 8))]
    leaves = [x_NI, *(factor for pair in pairs for factor in pair)]
    plain = [x_NI + SCALE * F.linear(F.linear(x_NI, psi_RI), phi_IR) for phi_IR, psi_RI in pairs]
    ours = [edited_NI for edited_NI, code_NR in edited_inputs(x_NI, pairs, SCALE) if code_NR is None]
    weights = [torch.randn_like(x_NI) for _ in pairs]
    expected = torch.autograd.grad(plain, leaves, weights)
    found = torch.autograd.grad(ours, leaves, weights)
    for one, other in zip([*ours, *found], [*plain, *expected], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_codes_have_their_gradients_too() -> None:
    torch.manual_seed(1)
    x_NI = random(3, 5, 8)
    pairs = [(random(8, 2), random(2, 8)), (random(8, 4), random(4, 8))]
    leaves = [x_NI, *(factor for pair in pairs for factor in pair)]
    codes = [SCALE * F.linear(x_NI, psi_RI) for _, psi_RI in pairs]
    plain = [*(x_NI + F.linear(code, phi_IR) for code, (phi_IR, _) in zip(codes, pairs, strict=True)), *codes]
    edited, found_codes = zip(*edited_inputs(x_NI, pairs, SCALE, with_codes=True), strict=True)
    ours = [*edited, *found_codes]
    weights = [torch.randn_like(one) for one in plain]
    expected = torch.autograd.grad(plain, leaves, weights)
    found = torch.autograd.grad(ours, leaves, weights)
    for one, other in zip([*ours, *found], [*plain, *expected], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_only_the_input_and_the_factors_are_kept() -> None:
    x_NI, phi_IR, psi_RI = random(50, 8), random(8, 2), random(2, 8)
    own = {tensor.data_ptr() for tensor in (x_NI, phi_IR, psi_RI)}
    saved: set[int] = set()

    def keep(tensor: Tensor) -> Tensor:
        saved.add(tensor.data_ptr())
        return tensor

    half_NI = x_NI.detach().to(torch.bfloat16).requires_grad_()
    for input_NI in (x_NI, half_NI):
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            edited_inputs(input_NI, [(phi_IR, psi_RI)], SCALE)
        assert saved <= own | {half_NI.data_ptr()}  # no codes, no copies in another dtype


def test_layers_that_read_the_same_input_encode_it_once() -> None:
    backbone, _ = wegeft("form=input", "r=4")
    with Products() as forward:
        value = loss(backbone)
    # 27 tokens, width 32, two decoder layers; down_proj (48) reads its own.
    assert forward.shapes[(27, 32), (32, 12)] == 2  # q, k and v
    assert forward.shapes[(27, 32), (32, 4)] == 2  # up_proj, whose gate_proj is not adapted
    assert forward.shapes[(27, 48), (48, 4)] == 2
    with Products() as backward:
        value.backward()
    assert backward.shapes[(12, 27), (27, 32)] == 2  # the gradients of the three ψ


def test_layers_that_share_a_pair_share_the_edit() -> None:
    backbone, _ = wegeft("form=input", "r=4", "sharing=equal_width")
    with Products() as forward:
        loss(backbone)
    assert forward.shapes[(27, 32), (32, 4)] == 4  # once for q, k and v, once for up_proj, in two decoder layers


@pytest.mark.parametrize("sharing", ["per_type", "equal_width", "per_layer"])
def test_encoding_together_changes_nothing(sharing: str) -> None:
    backbone, method = wegeft("form=input", f"sharing={sharing}")
    together = gradients(backbone, method)
    for update in method.modules():
        if isinstance(update, InputUpdate):
            update.shared_inputs.clear()
    for one, other in zip(gradients(backbone, method), together, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_nothing_is_held_of_a_pass_that_broke_off() -> None:
    backbone, method = wegeft("form=input", "r=4")
    q_proj = backbone.get_submodule("model.layers.1.self_attn.q_proj.base")

    def fail(*_: object) -> None:
        raise MemoryError

    hook = q_proj.register_forward_pre_hook(fail)
    with pytest.raises(MemoryError), method.several_passes(1):
        loss(backbone)
    hook.remove()
    shared = {s for u in method.modules() if isinstance(u, InputUpdate) for s in u.shared_inputs.values()}
    assert len(shared) == 2
    assert all(s._x_NI is None and not s._edited for s in shared)
    with Products() as forward:
        loss(backbone)
    assert forward.shapes[(27, 32), (32, 12)] == 2  # q, k and v are still encoded together


@pytest.mark.parametrize("overrides", [(), ("weight_dropout=0.1",)])
def test_autocast_reaches_the_input_form(overrides: tuple[str, ...]) -> None:
    backbone, method = wegeft("form=input", *overrides)
    backbone.float()
    exact = gradients(backbone, method)

    def run(model: nn.Module) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return loss(model)

    found = gradients(backbone, method, run)
    if not overrides:  # else the masks differ
        flat, other = (torch.cat([g.flatten() for g in gs]) for gs in (exact, found))
        assert torch.cosine_similarity(flat, other, dim=0) > 0.99
    assert all(g.dtype == torch.float32 and g.isfinite().all() for g in found)


def test_double_precision_stays_under_autocast() -> None:
    x_NI, pair = random(5, 8), (random(8, 2), random(2, 8))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        edited_NI = edited_inputs(x_NI, [pair], SCALE)[0][0]
    assert torch.equal(edited_NI, edited_inputs(x_NI, [pair], SCALE)[0][0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_factors_on_another_device_get_their_gradients_there() -> None:
    x_NI, phi_IR, psi_RI = random(5, 8), random(8, 2), random(2, 8)
    edited_inputs(x_NI.cuda(), [(phi_IR, psi_RI)], SCALE)[0][0].sum().backward()
    assert phi_IR.grad is not None
    assert phi_IR.grad.device == phi_IR.device


def test_a_vector_is_edited_like_a_row() -> None:
    x_I, pair = random(8), (random(8, 2), random(2, 8))
    torch.testing.assert_close(
        edited_inputs(x_I, [pair], SCALE)[0][0], edited_inputs(x_I[None], [pair], SCALE)[0][0][0]
    )


def test_layers_that_read_different_inputs_are_served_apart() -> None:
    backbone, _ = wegeft("form=input")
    attention = backbone.get_submodule("model.layers.0.self_attn")
    q, k = attention.get_submodule("q_proj"), attention.get_submodule("k_proj")
    one_NI, other_NI = random(6, 32), random(6, 32)
    for _ in range(2):
        mixed = q(one_NI), k(other_NI), q(other_NI), k(one_NI)
    alone = q(one_NI.clone()), k(other_NI.clone()), q(other_NI.clone()), k(one_NI.clone())
    for ours, expected in zip(mixed, alone, strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)


def test_a_pass_that_broke_off_does_not_part_the_layers() -> None:
    backbone, _ = wegeft("form=input", "r=4")
    backbone.get_submodule("model.layers.0.self_attn.q_proj")(random(27, 32))  # k and v never follow
    with Products() as forward:
        loss(backbone)
    assert forward.shapes[(27, 32), (32, 12)] == 2  # q, k and v of both decoder layers


def test_changed_factors_and_changed_inputs_are_seen() -> None:
    backbone, method = wegeft("form=input")
    attention = backbone.get_submodule("model.layers.0.self_attn")
    q, k = attention.get_submodule("q_proj"), attention.get_submodule("k_proj")
    x_NI = random(6, 32)
    q(x_NI)  # has edited the input of k as well
    perturb(method)
    assert torch.equal(k(x_NI), k(x_NI.clone()))
    q(x_NI)
    with torch.no_grad():
        x_NI.mul_(2)
    assert torch.equal(k(x_NI), k(x_NI.clone()))


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("options", [("form=generated",), ("recipe=v3", "block=mlp"), ("recipe=v3", "bias=true")])
def test_one_product_serves_all_passes_of_a_step(options: tuple[str, ...], recompute: bool) -> None:
    backbone, method = wegeft("r=4", *options)

    def passes(model: nn.Module) -> Tensor:
        run = checkpoint if recompute else (lambda function, model, **_: function(model))
        return sum((run(loss, model, use_reentrant=False) for _ in range(3)), torch.zeros(()))

    plain = gradients(backbone, method, passes)
    with Products() as counted, method.several_passes(3):
        passes(backbone).backward()
    # q_proj: W of (32, 32) times φ in both layers; and once Wᵀ times the gradient, of the same shapes
    assert counted.shapes[(32, 32), (32, 4)] == 2 * 2
    for parameter, expected in zip(method.trainable().values(), plain, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-10, atol=1e-12)
    perturb(method)
    assert len(gradients(backbone, method)) == len(plain)  # nothing of the step is left over


def test_dropped_entries_are_new_in_every_pass() -> None:
    backbone = tiny_llama()
    method = attach(method_from_yaml("wegeft", "weight_dropout=0.5"), backbone)
    perturb(method)
    backbone.train()
    with method.several_passes(2):
        assert loss(backbone) != loss(backbone)
