"""Large products go to oneDNN, and give what torch's own give, gradients and counted operations included."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from tests.composing import run_config
from tests.methods.tiny import (
    CASES,
    attach,
    loss,
    method_from_yaml,
    perturb,
    skip_untrained,
    tiny_backbone,
)
from wegeft import experiment, products
from wegeft.products import LARGE, Linear, add_product, product, speed_up, transposed_product

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")

N, K, M = 512, 1024, 32  # N K M is LARGE
THIN = ("wegeft", "lora", "dora")
"""Methods whose step has thin products."""


class Kernels(TorchDispatchMode):
    """Counts the matrix products that reach torch's own kernels and those that reach oneDNN's."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        del types
        packet = func.overloadpacket
        if packet is torch.ops.mkldnn._linear_pointwise:
            self.calls["onednn"] += 1
        if packet in (torch.ops.aten.mm, torch.ops.aten.addmm):
            self.calls["torch"] += 1
        return func(*args, **(kwargs or {}))


def calls(work: Callable[[], object]) -> Counter[str]:
    kernels = Kernels()
    with kernels:
        work()
    return kernels.calls


def leaf(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, dtype=dtype, requires_grad=True)


@pytest.fixture(autouse=True)
def _on_any_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "IS_FASTER", True)
    torch.manual_seed(0)


def assert_as_in_double(compute: Callable[..., Tensor], plain: Callable[..., Tensor], *leaves: Tensor) -> None:
    """``compute`` is ``plain`` in fp64 to the precision of fp32, its gradients too, and all of it by oneDNN."""
    wide = [x.detach().double().requires_grad_() for x in leaves]
    expected = plain(*wide)
    g = torch.randn_like(expected)
    found: list[Tensor] = []

    def work() -> None:
        y = compute(*leaves)
        found.extend((y, *torch.autograd.grad(y, leaves, g.float())))

    assert calls(work).keys() == {"onednn"}
    for ours, theirs in zip(found, (expected, *torch.autograd.grad(expected, wide, g)), strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-4 * float(theirs.detach().abs().max()))


def test_product_and_gradients_are_those_of_the_formula() -> None:
    assert N * K * M == LARGE
    assert_as_in_double(product, lambda x, w: x @ w.T, leaf(N, K), leaf(M, K))


def test_product_takes_any_leading_shape_and_strides() -> None:
    assert_as_in_double(lambda x, w: product(x, w.T), lambda x, w: x @ w, leaf(4, N // 4, K), leaf(K, M))
    assert_as_in_double(lambda x, w: product(x.T, w), lambda x, w: x.T @ w.T, leaf(K, N), leaf(M, K))


def test_bias_and_its_gradient_are_those_of_the_formula() -> None:
    assert_as_in_double(product, lambda x, w, b: x @ w.T + b, leaf(2, N // 2, K), leaf(M, K), leaf(M))


def test_sum_and_gradients_are_those_of_the_formula_and_the_summand_stays() -> None:
    y, x, w = leaf(2, N // 2, K), leaf(2, N // 2, M), leaf(K, M)
    before = y.detach().clone()
    assert_as_in_double(add_product, lambda y, x, w: y + x @ w.T, y, x, w)
    assert torch.equal(y, before)


@pytest.mark.parametrize(("first", "second"), [(K, M), (M, K)])
def test_transposed_product_is_that_of_the_formula_either_way_round(first: int, second: int) -> None:
    a, b = torch.randn(N, first), torch.randn(N, second)
    torch.testing.assert_close(transposed_product(a, b), (a.double().T @ b.double()).float(), rtol=1e-4, atol=1e-3)
    assert calls(lambda: transposed_product(a, b)).keys() == {"onednn"}


def test_gradients_can_be_differentiated_once_more() -> None:
    def penalty(multiply: Callable[..., Tensor], *leaves: Tensor) -> Tensor:
        grads = torch.autograd.grad(multiply(*leaves).square().sum(), leaves, create_graph=True)
        return torch.stack([grad.square().sum() for grad in grads]).sum()

    leaves = leaf(N, K), leaf(M, K)
    wide = [x.detach().double().requires_grad_() for x in leaves]
    theirs = torch.autograd.grad(penalty(lambda x, w: x @ w.T, *wide), wide)
    for ours, expected in zip(torch.autograd.grad(penalty(product, *leaves), leaves), theirs, strict=True):
        torch.testing.assert_close(ours.double(), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_gradients_that_nobody_wants_are_not_computed() -> None:
    x, w = torch.randn(N, K), leaf(M, K)
    y = product(x, w)
    assert calls(lambda: torch.autograd.grad(y.sum(), w))["onednn"] == 1


def test_small_products_other_dtypes_and_autocast_keep_torchs_own_kernels() -> None:
    x, w, y = torch.randn(N, K), torch.randn(M, K), torch.randn(N, M)
    assert calls(lambda: (product(x[1:], w), add_product(y[1:], x[1:], w)))["onednn"] == 0
    assert calls(lambda: product(x.double(), w.double()))["onednn"] == 0
    assert calls(lambda: transposed_product(x.double(), y.double()))["onednn"] == 0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert calls(lambda: product(x, w))["onednn"] == 0
        assert product(x, w).dtype == torch.bfloat16


def test_nothing_changes_where_torchs_own_kernels_are_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "IS_FASTER", False)
    x, w = leaf(N, K), leaf(M, K)
    assert calls(lambda: product(x, w).sum().backward())["onednn"] == 0


def test_compiled_code_serves_small_and_large_products_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "LARGE", 8 * 4 * 3)
    compilations: list[object] = []

    def backend(graph: torch.fx.GraphModule, example_inputs: list[Tensor]) -> Callable[..., Any]:
        compilations.append(example_inputs)
        return graph.forward

    compiled = torch.compile(product, backend=backend, dynamic=True, fullgraph=True)
    w = torch.randn(3, 4)
    for rows in (5, 50):
        x = torch.randn(rows, 4)
        torch.testing.assert_close(compiled(x, w), x @ w.T)
    assert len(compilations) == 1


def test_input_of_a_frozen_weight_is_not_kept_for_the_backward_pass() -> None:
    kept: list[Tensor] = []
    w, x = torch.randn(M, K), leaf(N, K)

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        product(x, w)
    assert [t.data_ptr() for t in kept] == [w.data_ptr()]


def test_operations_are_counted_alike() -> None:
    x, w, y = torch.randn(N, K), torch.randn(M, K), torch.randn(N, M)
    works: list[Callable[[], object]] = [
        lambda: product(x, w),
        lambda: add_product(y, x, w),
        lambda: transposed_product(x, y),
    ]
    for work in works:
        with FlopCounterMode(display=False) as counter:
            work()
        assert counter.get_total_flops() == 2 * N * K * M


@pytest.mark.parametrize("by", [nn.Linear, Linear])
@pytest.mark.parametrize(("name", "family"), CASES)
def test_a_step_of_every_method_is_the_same_by_either_kernel(
    name: str, family: str, by: type[nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(large: int) -> tuple[Tensor, dict[str, Tensor], int]:
        monkeypatch.setattr(products, "LARGE", large)
        backbone = tiny_backbone(family)
        if by is Linear:
            speed_up(backbone)
        method = attach(method_from_yaml(name, family=family), backbone)
        skip_untrained(method)
        perturb(method)
        found: list[Tensor] = []
        torch.manual_seed(1)
        counted = calls(lambda: found.append(_stepped(backbone.train())))
        grads = {key: p.grad for key, p in method.trainable().items() if p.grad is not None}
        return found[0], grads, counted["onednn"]

    expected, theirs, none = step(1 << 40)
    ours_loss, ours, some = step(1)
    assert none == 0
    assert some > 0 or (by is nn.Linear and name not in THIN)
    torch.testing.assert_close(ours_loss, expected)
    assert ours.keys() == theirs.keys()
    for key, grad in ours.items():
        torch.testing.assert_close(grad, theirs[key], rtol=1e-4, atol=1e-5)


def _stepped(backbone: nn.Module) -> Tensor:
    value = loss(backbone)
    value.backward()
    return value.detach()


def test_speeding_up_changes_plain_linear_layers_alone_and_no_parameter() -> None:
    class Other(nn.Linear):
        pass

    model = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.Linear(4, 5, bias=False)), Other(5, 2))
    before = model.state_dict(keep_vars=True)
    speed_up(model)
    assert [type(module) for module in model.modules()] == [nn.Sequential, Linear, nn.Sequential, Linear, Other]
    assert before.keys() == model.state_dict().keys()
    assert all(tensor is before[key] for key, tensor in model.state_dict(keep_vars=True).items())


@pytest.mark.parametrize(
    ("key", "faster", "device", "kernel", "layer"),
    [
        ("auto", True, "cpu", "onednn", Linear),
        ("auto", False, "cpu", "torch", nn.Linear),
        ("auto", True, "cuda", "torch", nn.Linear),
        ("torch", True, "cpu", "torch", nn.Linear),
    ],
)
def test_who_multiplies_in_the_backbone_is_what_the_key_and_the_machine_say(
    key: str, faster: bool, device: str, kernel: str, layer: type[nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "IS_FASTER", faster)
    model = nn.Sequential(nn.Linear(2, 2))
    config = run_config(f"runtime.linear_kernel={key}")
    assert experiment.set_linear_kernel(model, config, torch.device(device)) == kernel
    assert type(model[0]) is layer


def test_a_run_loads_its_backbone_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "IS_FASTER", True)
    backbone = experiment.load_backbone(run_config(), torch.device("cpu"))
    assert {type(module) for module in backbone.model.modules() if isinstance(module, nn.Linear)} == {Linear}
