"""The product with a dropped-out frozen weight: its mask, its mean, its gradient."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from wegeft.methods.weight_dropout import dropped_product

P = 0.3


def weight(rows: int = 50, columns: int = 30) -> Tensor:
    return torch.rand(rows, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 1


def test_kept_entries_are_scaled_and_the_rest_is_zero() -> None:
    weight_OI = weight()
    product = dropped_product(weight_OI, torch.eye(30, dtype=torch.float64), P)
    kept = product != 0
    torch.testing.assert_close(product[kept], weight_OI[kept] / (1 - P), rtol=1e-4, atol=0)
    assert abs((~kept).double().mean().item() - P) < 0.05


def test_the_mean_over_masks_is_the_weight() -> None:
    weight_OI, eye = torch.ones(64, 31), torch.eye(31)
    torch.manual_seed(0)
    mean_OI = torch.stack([dropped_product(weight_OI, eye, 0.1) for _ in range(200)]).mean(0)
    assert abs(mean_OI.mean().item() - 1) < 0.003  # 400,000 entries of standard deviation 1/3
    assert (mean_OI - 1).abs().max() < 0.15


@pytest.mark.parametrize("p", [0.001, 0.1, 0.99])
def test_entries_are_dropped_with_the_exact_probability(p: float) -> None:
    torch.manual_seed(0)
    product = dropped_product(torch.ones(16_384, 256), torch.eye(256), p)
    entries = product.numel()  # a byte alone would give 0 or 1/256, 25/256 or 26/256, 253/256 or 254/256
    assert abs((product == 0).double().mean().item() - p) < 4 * (p * (1 - p) / entries) ** 0.5 + 1e-4


def test_mask_is_new_at_each_call_and_repeats_with_the_seed() -> None:
    eye = torch.eye(30, dtype=torch.float64)
    torch.manual_seed(1)
    first, second = dropped_product(weight(), eye, P), dropped_product(weight(), eye, P)
    torch.manual_seed(1)
    again = dropped_product(weight(), eye, P)
    assert not torch.equal(first, second)
    assert torch.equal(first, again)


def test_gradient_uses_the_mask_of_the_forward_pass() -> None:
    weight_OI = weight(2100, 600)  # more than one block
    phi_IR = torch.ones(600, 3, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(2)
    dropped_OI = dropped_product(weight_OI, torch.eye(600, dtype=torch.float64), P)
    torch.manual_seed(2)
    b_OR = dropped_product(weight_OI, phi_IR, P)
    torch.testing.assert_close(b_OR, dropped_OI @ phi_IR)
    grad_OR = torch.randn(b_OR.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    b_OR.backward(grad_OR)
    torch.testing.assert_close(phi_IR.grad, dropped_OI.T @ grad_OR)


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


def test_operator_is_registered_as_the_compiler_expects() -> None:
    phi_IR = torch.ones(30, 3, dtype=torch.float64, requires_grad=True)
    torch.library.opcheck(
        torch.ops.wegeft.dropped_product.default,
        (weight(), phi_IR, P),
        test_utils=("test_schema", "test_autograd_registration", "test_faketensor"),
    )


def test_mask_does_not_depend_on_the_number_of_threads() -> None:
    weight_OI, eye, found = weight(2100, 600), torch.eye(600, dtype=torch.float64), []
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            torch.manual_seed(4)
            found.append(dropped_product(weight_OI, eye, P))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)
