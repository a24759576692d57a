"""Methods that scale the rows of a bf16 layer by gains near one, against fp64.

The reference adds the exact change to the output of the frozen layer in bf16 and rounds once; nothing that leaves the
frozen layer as it is can do better, and PEFT's DoRA with fp32 adapters does just that.
"""

import copy

import pytest
import torch
from torch import Tensor, nn

from tests.methods.tiny import attach, method_from_yaml, perturb
from wegeft.methods.base import Method
from wegeft.methods.dora import DoRAUpdate

WIDTH, TOKENS = 128, 512
CASES = [("dora", 0.0), ("dora", 1e-9), ("red", 0.0), ("ssf", 0.0)]
"""Methods and their dropout; the smallest takes the path of dropout and drops nothing."""

with_and_without_bias = pytest.mark.parametrize("bias", [False, True])


class Network(nn.Module):
    """One linear layer in bf16."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(WIDTH, WIDTH, bias=bias, dtype=torch.bfloat16)

    def forward(self, x_NI: Tensor) -> Tensor:
        """(N, I) to (N, O)."""
        y_NO: Tensor = self.fc(x_NI)
        return y_NO


def adapted(name: str, dropout: float, bias: bool) -> tuple[Network, Method]:
    overrides = ["r=4", f"dropout={dropout}"] if name == "dora" else []
    family = "image_classifier" if name == "ssf" else "causal_lm"
    net = Network(bias)
    method = attach(method_from_yaml(name, "target_modules=[fc]", *overrides, family=family), net)
    net.train()
    return net, method


def inputs() -> Tensor:
    return torch.randn(TOKENS, WIDTH, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16)


def row_error(y_NO: Tensor, exact_NO: Tensor) -> float:
    """By how much the rows' gains are off, as the root of the mean square."""
    gain_O = (y_NO.double() * exact_NO).sum(0) / exact_NO.square().sum(0)
    return (gain_O - 1).square().mean().sqrt().item()


@pytest.mark.parametrize("cast", [False, True], ids=["autocast", "cast after it was attached"])
def test_lengths_of_dora_stay_in_single_precision(cast: bool) -> None:
    net, method = adapted("dora", 0.0, bias=False)
    net.float()
    perturb(method, 0.02)
    if cast:
        net.bfloat16()
    update = next(module for module in method.modules() if isinstance(module, DoRAUpdate))
    weight_OI: Tensor = net.get_parameter("fc.base.weight").detach()
    update_OI = update.scale * update.b_OR.double() @ update.a_RI.double()
    exact_O = torch.linalg.vector_norm(weight_OI.double() + update_OI, dim=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        norm_O = update._norm_O(weight_OI)
    torch.testing.assert_close(norm_O.double(), exact_O, rtol=2e-4 if cast else 1e-5, atol=0)
    assert norm_O.dtype == torch.float32


@with_and_without_bias
@pytest.mark.parametrize(("name", "dropout"), CASES)
def test_gains_are_those_of_one_rounding(name: str, dropout: float, bias: bool) -> None:
    net, method = adapted(name, dropout, bias)
    perturb(method, 0.02)
    x_NI, plain = inputs(), Network(bias)
    with torch.no_grad():
        exact_NO = copy.deepcopy(net).double()(x_NI.double())
        change_NO = exact_NO - copy.deepcopy(plain).double()(x_NI.double())
        reference = row_error((plain(x_NI) + change_NO).to(torch.bfloat16), exact_NO)
        error = row_error(net(x_NI), exact_NO)
        method.merge()
        merged = row_error(net(x_NI), exact_NO)
    assert error < 1.5 * reference
    assert error < 1.5 * merged


@with_and_without_bias
@pytest.mark.parametrize(("name", "dropout"), CASES[:3])
def test_the_start_changes_no_bit(name: str, dropout: float, bias: bool) -> None:
    with torch.no_grad():
        assert torch.equal(adapted(name, dropout, bias)[0](inputs()), Network(bias)(inputs()))
