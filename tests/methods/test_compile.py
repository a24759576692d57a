"""Every method under `torch.compile`: a decoder layer becomes one graph, which computes the same.

The graphs run eagerly; generating machine code would test the compiler and take minutes.
"""

import pytest
import torch
from torch import Tensor, nn

from tests.methods.tiny import METHODS, attach, loss, method_from_yaml, perturb, skip_untrained, tiny_llama
from wegeft.methods.base import Method

# The compiler looks at `.grad` of what it traces, and torch warns of that.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


def build(name: str, *overrides: str) -> tuple[nn.Module, Method]:
    backbone = tiny_llama()
    method = attach(method_from_yaml(name, *overrides), backbone)
    perturb(method)
    return backbone, method


def compile_first_layer(backbone: nn.Module, backend: str) -> None:
    torch.compiler.reset()
    backbone.get_submodule("model.layers.0").compile(fullgraph=True, backend=backend)


def gradients(backbone: nn.Module, method: Method) -> list[Tensor]:
    torch.manual_seed(5)  # the same dropout masks
    value = loss(backbone)
    return [value.detach(), *torch.autograd.grad(value, list(method.trainable().values()))]


def check(name: str, backend: str, *overrides: str) -> None:
    backbone, method = build(name, *overrides)
    skip_untrained(method)
    backbone.train()
    plain = gradients(backbone, method)
    compile_first_layer(backbone, backend)
    for one, other in zip(gradients(backbone, method), plain, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_compiles_whole(name: str) -> None:
    check(name, "eager")


@pytest.mark.parametrize("option", ["side=output", "block=mlp"])
def test_options_compile_whole(option: str) -> None:
    check("wegeft", "eager", "recipe=v3", option)


def test_weight_dropout_is_differentiated_by_the_compiler() -> None:
    check("wegeft", "aot_eager")


def test_folding_and_unfolding_after_compiling() -> None:
    backbone, method = build("wegeft")
    compile_first_layer(backbone, "eager")
    with torch.no_grad():
        adapted = loss(backbone)
        method.merge()
        merged = loss(backbone)
        method.unmerge()
        unmerged = loss(backbone)
    torch.testing.assert_close(merged, adapted, rtol=0, atol=1e-5)
    assert torch.equal(unmerged, adapted)
