"""Products with the kept and the dropped entries of a frozen weight: the mask, its mean, its gradient."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from wegeft.methods import weight_dropout
from wegeft.methods.weight_dropout import _masked_blocks, drop_positions, dropped_product, is_sparse, kept_product

P = 0.3
Product = Callable[[Tensor, Tensor, float], Tensor]
PRODUCTS = (kept_product, dropped_product)


@pytest.fixture(params=["found", "masked"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Either way to leave entries out, whatever the size of the weight: dropped ones are found, or all are masked."""
    monkeypatch.setattr(weight_dropout, "_SPARSE_FROM", 0 if request.param == "found" else 1 << 40)


on_either_way = pytest.mark.usefixtures("way")


def weight(rows: int = 50, columns: int = 30) -> Tensor:
    return torch.rand(rows, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 1


def masked(product: Product, weight_OI: Tensor, p: float, seed: int) -> Tensor:
    """The entries of the weight that `product` takes, the others zero."""
    torch.manual_seed(seed)
    return product(weight_OI, torch.eye(weight_OI.shape[1], dtype=weight_OI.dtype), p)


@on_either_way
def test_an_entry_is_either_kept_or_dropped() -> None:
    weight_OI = weight()
    kept_OI, dropped_OI = (masked(product, weight_OI, P, seed=0) for product in PRODUCTS)
    is_dropped = dropped_OI != 0
    torch.testing.assert_close(dropped_OI[is_dropped], weight_OI[is_dropped])
    torch.testing.assert_close(kept_OI + dropped_OI, weight_OI)
    assert torch.equal(kept_OI.abs() < 1e-9, is_dropped)
    assert abs(is_dropped.double().mean().item() - P) < 0.05


@pytest.mark.parametrize("p", [0.001, 0.1, 0.5, 0.99])
def test_entries_are_dropped_with_the_exact_probability(p: float) -> None:
    entries = 1 << 22
    rate = len(drop_positions(np.random.SFC64(0), entries, p)) / entries
    assert abs(rate - p) < 4 * (p * (1 - p) / entries) ** 0.5


def test_a_probability_far_below_that_of_a_word_is_kept_too() -> None:
    entries, p = 1 << 28, 1e-5  # a 16-bit word has a probability of 1.5e-5
    assert abs(len(drop_positions(np.random.SFC64(0), entries, p)) - entries * p) < 4 * (entries * p) ** 0.5


@pytest.mark.parametrize("p", [0.001, 0.1, 0.5])
def test_whether_an_entry_is_dropped_does_not_depend_on_the_one_before(p: float) -> None:
    positions = drop_positions(np.random.SFC64(1), 1 << 24, p)
    gaps = np.diff(positions)
    for lag in (1, 2, 7, 100):  # P(the next dropped entry is within so many) = 1 - (1 - p)^lag
        expected = 1 - (1 - p) ** lag
        assert abs((gaps <= lag).mean() - expected) < 4 * (expected * (1 - expected) / len(gaps)) ** 0.5 + 2e-5
    assert positions.min() >= 0
    assert gaps.min() >= 1


def test_drawing_goes_on_until_the_last_entry() -> None:
    class Shortest(np.random.SFC64):
        """Every gap is one entry, ten times shorter than what is drawn for."""

        def random_raw(self, size: int) -> np.ndarray:  # type: ignore[override]  # the only form that is called
            return np.zeros(size, np.uint64)

    assert drop_positions(Shortest(0), 1000, 0.1).tolist() == list(range(1000))


def test_large_weights_on_a_cpu_have_their_dropped_entries_found() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert [is_sparse(cpu, 4096**2), is_sparse(cpu, 128**2), is_sparse(gpu, 4096**2)] == [True, False, False]


@pytest.mark.parametrize("kept", [True, False])
def test_masks_keep_or_drop_with_the_exact_probability(kept: bool) -> None:
    weight_OI = torch.ones(9000, 256)  # more than one block; a byte alone would give 25/256 or 26/256
    taken = torch.cat([block_OI.clone() for _, block_OI in _masked_blocks(weight_OI, 3, 0.1, kept)])
    others = torch.cat([block_OI.clone() for _, block_OI in _masked_blocks(weight_OI, 3, 0.1, not kept)])
    assert torch.equal(taken + others, weight_OI)
    dropped = 1 - taken.mean().item() if kept else taken.mean().item()
    assert abs(dropped - 0.1) < 4 * (0.1 * 0.9 / weight_OI.numel()) ** 0.5 + 1e-4


@on_either_way
@pytest.mark.parametrize("product", PRODUCTS)
def test_mask_is_new_at_each_call_and_repeats_with_the_seed(product: Product) -> None:
    first = masked(product, weight(), P, seed=1)
    second = product(weight(), torch.eye(30, dtype=torch.float64), P)
    assert not torch.equal(first, second)
    assert torch.equal(first, masked(product, weight(), P, seed=1))


@on_either_way
@pytest.mark.parametrize("product", PRODUCTS)
def test_gradient_uses_the_mask_of_the_forward_pass(product: Product) -> None:
    weight_OI = weight(5000, 600)  # more than one block
    phi_IR = torch.ones(600, 3, dtype=torch.float64, requires_grad=True)
    taken_OI = masked(product, weight_OI, P, seed=2)
    torch.manual_seed(2)
    b_OR = product(weight_OI, phi_IR, P)
    torch.testing.assert_close(b_OR, taken_OI @ phi_IR)
    grad_OR = torch.randn(b_OR.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    b_OR.backward(grad_OR)
    torch.testing.assert_close(phi_IR.grad, taken_OI.T @ grad_OR)


@on_either_way
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_short_formats_add_up_in_single_precision(dtype: torch.dtype) -> None:
    weight_OI, phi_IR = weight(40, 3000).to(dtype), torch.ones(3000, 2, dtype=dtype)
    torch.manual_seed(4)
    found_OR = dropped_product(weight_OI, phi_IR, P)
    exact_OR = masked(dropped_product, weight_OI.double(), P, seed=4).sum(1, keepdim=True)
    assert found_OR.dtype == dtype
    torch.testing.assert_close(found_OR.double(), exact_OR.expand(-1, 2), rtol=torch.finfo(dtype).eps, atol=0)


@on_either_way
def test_gradient_adds_many_blocks_up_in_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_dropout, "_BLOCK", 1 << 11)  # 100 blocks
    weight_OI = weight(2000, 100)
    taken_OI = masked(kept_product, weight_OI.bfloat16().double(), P, seed=2)
    grad_OR = torch.rand(2000, 3, generator=torch.Generator().manual_seed(3)).bfloat16()
    phi_IR = torch.ones(100, 3, dtype=torch.bfloat16, requires_grad=True)
    torch.manual_seed(2)
    kept_product(weight_OI.bfloat16(), phi_IR, P).backward(grad_OR)
    exact_IR = taken_OI.T @ grad_OR.double()
    assert phi_IR.grad is not None
    assert (phi_IR.grad.double() - exact_IR).norm() / exact_IR.norm() < 0.003  # rounding it once gives 0.002


@on_either_way
def test_checkpointing_repeats_the_mask() -> None:
    phi_IR = nn.Parameter(torch.ones(30, 3, dtype=torch.float64))
    gradients = []
    for recompute in (False, True):
        torch.manual_seed(4)
        if recompute:
            b_OR = checkpoint(dropped_product, weight(), phi_IR, P, use_reentrant=False)
        else:
            b_OR = dropped_product(weight(), phi_IR, P)
        gradients.append(torch.autograd.grad(b_OR.square().sum(), phi_IR)[0])
    assert torch.equal(*gradients)


@on_either_way
def test_no_copy_of_the_weight_is_kept_for_the_backward_pass() -> None:
    saved: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    weight_OI = weight()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        dropped_product(weight_OI, torch.ones(30, 3, dtype=torch.float64, requires_grad=True), P)
    others = [t for t in saved if t.data_ptr() != weight_OI.data_ptr()]
    assert sum(t.numel() for t in others) <= 1


@on_either_way
def test_operator_is_registered_as_the_compiler_expects() -> None:
    phi_IR = torch.ones(30, 3, dtype=torch.float64, requires_grad=True)
    torch.library.opcheck(
        torch.ops.wegeft.masked_product.default,
        (weight(), phi_IR, P, True),
        test_utils=("test_schema", "test_autograd_registration", "test_faketensor"),
    )


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@on_either_way
@pytest.mark.usefixtures("three_threads")
def test_mask_does_not_depend_on_the_number_of_threads() -> None:
    weight_OI = weight(5000, 600)
    by_three = masked(dropped_product, weight_OI, P, seed=4)
    torch.set_num_threads(1)
    assert torch.equal(masked(dropped_product, weight_OI, P, seed=4), by_three)


@pytest.mark.usefixtures("three_threads")
def test_gradient_does_not_depend_on_the_number_of_threads() -> None:
    weight_OI, phi_IR = weight(9000, 600), torch.ones(600, 3, dtype=torch.float64, requires_grad=True)  # three blocks
    assert is_sparse(weight_OI.device, weight_OI.numel())
    gradients = []
    for threads in (3, 1):
        torch.set_num_threads(threads)
        torch.manual_seed(4)
        b_OR = dropped_product(weight_OI, phi_IR, P)
        gradients.append(torch.autograd.grad(b_OR.sin().sum(), phi_IR)[0])
    assert torch.equal(*gradients)


@pytest.mark.usefixtures("three_threads")
def test_as_many_threads_as_before_are_used_afterwards() -> None:
    weight_OI = weight(9000, 600)
    assert is_sparse(weight_OI.device, weight_OI.numel())
    masked(dropped_product, weight_OI, P, seed=4)
    with ThreadPoolExecutor(1) as later:
        assert [torch.get_num_threads(), later.submit(torch.get_num_threads).result()] == [3, 3]


def test_a_forked_child_has_threads_of_its_own(tmp_path: Path) -> None:
    script = tmp_path / "forks.py"
    script.write_text(FORKS)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


FORKS = """
import os, signal
import torch
from wegeft.methods.weight_dropout import dropped_product

torch.set_num_threads(2)
weight_OI, phi_IR = torch.ones(9000, 600), torch.ones(600, 3)  # three blocks

def drop():
    torch.manual_seed(4)
    return dropped_product(weight_OI, phi_IR, 0.1)

expected = drop()
child = os.fork()
if not child:
    signal.alarm(30)  # ends a child that waits for threads which it does not have
    torch.set_num_threads(2)
    os._exit(0 if torch.equal(drop(), expected) else 1)
assert os.waitpid(child, 0)[1] == 0
"""
