"""What bf16 activations cost: every form of WeGeFT against fp64, from the first steps to a trained adapter.

References of the same precision are the weight form, one product with W' rounded to bf16, and the formulation of the
official code, which computes the update in fp32 and rounds its sum with the frozen output.
"""

from contextlib import nullcontext
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.methods.tiny import method_from_yaml
from wegeft.methods.frozen import Frozen
from wegeft.methods.linear import Site
from wegeft.methods.wegeft import InputUpdate, WeGeFT
from wegeft.methods.weight_dropout import dropped_product

WIDTH, OUT, TOKENS = 1024, 768, 192
# Entries of φ: two after one step at 1e-6 and 1e-5 of a warm-up, then of training at 2e-4, then of a trained adapter.
SIZES = [1e-6, 1e-5, 2e-4, 1e-3, 1e-2]


@dataclass
class Case:
    """A bf16 layer with an fp32 pair of rank 64 and s = 2, its input, and the exact output and update."""

    base: Frozen
    update: InputUpdate
    x_NI: Tensor
    exact_NO: Tensor
    delta_NO: Tensor

    @torch.no_grad()
    def output(self) -> Tensor:
        """The output in bf16."""
        y_NO: Tensor = self.update(self.base, self.x_NI)
        return y_NO

    def error(self, y_NO: Tensor) -> float:
        """Root mean square error over root mean square."""
        return float((y_NO.double() - self.exact_NO).norm() / self.exact_NO.norm())

    def kept(self, y_NO: Tensor) -> float:
        """The part of the update that is in the output beyond the frozen layer's; 1 if nothing is lost."""
        change_NO = y_NO.double() - self.base(self.x_NI).double()
        return float((change_NO * self.delta_NO).sum() / self.delta_NO.square().sum())


def case(size: float, form: str, weight_dropout: float = 0) -> Case:
    torch.manual_seed(0)
    layer = nn.Linear(WIDTH, OUT, bias=False).to(torch.bfloat16).requires_grad_(False)
    base = Frozen(layer)
    method = method_from_yaml("wegeft", "r=64", "alpha=128", f"weight_dropout={weight_dropout}", f"form={form}")
    assert isinstance(method, WeGeFT)
    update = method.build_update([Site("layer", "layer", base, "layer")])
    assert isinstance(update, InputUpdate)
    nn.init.normal_(update.phi_DR, std=size)
    x_NI = torch.randn(TOKENS, WIDTH).to(torch.bfloat16)
    with torch.no_grad():
        code_NR = 2 * x_NI.double() @ update.psi_RD.double().T
        delta_NO = code_NR @ update.phi_DR.double().T @ layer.weight.double().T
        exact_NO = x_NI.double() @ layer.weight.double().T + delta_NO
    return Case(base, update, x_NI, exact_NO, delta_NO)


@torch.no_grad()
def official(c: Case) -> Tensor:
    """The update in fp32, added to the frozen output, rounded."""
    b_OR = c.base.weight.float() @ c.update.phi_DR
    update_NO = F.linear(F.linear(c.x_NI.float(), c.update.psi_RD), b_OR) * c.update.scale
    return (c.base(c.x_NI).float() + update_NO).to(torch.bfloat16)


@torch.no_grad()
def weight_form(c: Case) -> Tensor:
    """One product with the folded weight in bf16."""
    return F.linear(c.x_NI, c.update.merged(c.base)[0].to(torch.bfloat16))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("form", ["input", "generated"])
def test_errors_are_those_of_the_references(form: str, size: float) -> None:
    c = case(size, form)
    reference = min(c.error(official(c)), c.error(weight_form(c)))
    assert c.error(c.output()) < 1.1 * reference


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("form", ["input", "generated"])
def test_small_updates_are_kept_as_well_as_in_fp32(form: str, size: float) -> None:
    c = case(size, form)
    assert c.kept(c.output()) == pytest.approx(c.kept(official(c)), abs=0.03)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("form", ["input", "generated"])
def test_errors_with_dropped_entries_are_those_of_the_official_path(form: str, size: float) -> None:
    c = case(size, form, weight_dropout=0.1)
    weight_OI, eye = c.base.weight, torch.eye(WIDTH, dtype=torch.bfloat16)
    torch.manual_seed(1)
    dropped_OI = dropped_product(weight_OI, eye, 0.1)
    torch.manual_seed(1)
    y_NO = c.output()
    kept_OI = (weight_OI - dropped_OI).float() / 0.9
    exact_OI = weight_OI.double() + 2 * kept_OI.double() @ c.update.phi_DR.double() @ c.update.psi_RD.double()
    exact_NO = c.x_NI.double() @ exact_OI.T
    update_NO = 2 * F.linear(F.linear(c.x_NI.float(), c.update.psi_RD), kept_OI @ c.update.phi_DR)
    reference_NO = (c.base(c.x_NI).float() + update_NO).to(torch.bfloat16)
    error, reference = ((y.double() - exact_NO).norm() for y in (y_NO, reference_NO))
    assert error < 1.5 * reference


@pytest.mark.parametrize("form", ["input", "generated"])
def test_gradients_are_within_the_rounding_of_bf16(form: str) -> None:
    c = case(2e-4, form)
    grad_NO = torch.randn(TOKENS, OUT).to(torch.bfloat16)
    c.update(c.base, c.x_NI).backward(grad_NO)
    exact_DR = c.base.weight.double().T @ grad_NO.double().T @ (2 * c.x_NI.double() @ c.update.psi_RD.double().T)
    assert c.update.phi_DR.grad is not None
    error = (c.update.phi_DR.grad.double() - exact_DR).norm() / exact_DR.norm()
    assert error < 2**-7  # a bf16 number is exact to 2⁻⁹; the path has three


def test_gradients_of_many_passes_with_one_product_are_as_exact_as_with_one_each() -> None:
    c, passes = case(2e-4, "generated"), 64
    inputs = [torch.randn(8, WIDTH).to(torch.bfloat16) for _ in range(passes)]
    grads = [torch.randn(8, OUT).to(torch.bfloat16) for _ in range(passes)]
    exact_OR = sum(
        g.double().T @ (2 * x.double() @ c.update.psi_RD.double().T) for x, g in zip(inputs, grads, strict=True)
    )
    exact_DR = c.base.weight.double().T @ exact_OR
    errors = []
    for once in (c.update.several_passes(passes), nullcontext()):
        c.update.zero_grad()
        with once:
            for x_NI, grad_NO in zip(inputs, grads, strict=True):
                c.update(c.base, x_NI).backward(grad_NO)
        assert c.update.phi_DR.grad is not None
        errors.append((c.update.phi_DR.grad.double() - exact_DR).norm() / exact_DR.norm())
    assert errors[0] < 1.3 * errors[1]
