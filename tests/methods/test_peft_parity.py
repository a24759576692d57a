"""Our LoRA and DoRA against Hugging Face PEFT's at the same factors: outputs, gradients, dropout included.

In fp64, where a difference in the mathematics cannot hide behind rounding; the outputs in fp32 as well.
"""

import peft
import pytest
import torch
from torch import Tensor, nn

from tests.methods.tiny import attach, logits, loss, method_from_yaml, perturb, tiny_llama
from wegeft.methods.base import Method

TARGETS = ["q_proj", "k_proj", "v_proj", "up_proj", "down_proj"]
NAMES = {
    "a_RI": "lora_A.default.weight",
    "b_OR": "lora_B.default.weight",
    "m_O": "lora_magnitude_vector.default.weight",
}

# PEFT asks transformers for a property that the latter has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")


def ours(name: str, dropout: float, scaling: str, dtype: torch.dtype = torch.float64) -> Method:
    backbone = tiny_llama(dtype=dtype)
    method = attach(method_from_yaml(name, f"dropout={dropout}", "r=4", "alpha=12", f"scaling={scaling}"), backbone)
    nn.Module.to(backbone, dtype)
    perturb(method, 0.1)
    return method


def theirs(name: str, dropout: float, scaling: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    config = peft.LoraConfig(
        r=4,
        lora_alpha=12,
        lora_dropout=dropout,
        use_rslora=scaling == "alpha_over_sqrt_r",
        use_dora=name == "dora",
        target_modules=TARGETS,
    )
    model: nn.Module = peft.get_peft_model(tiny_llama(dtype=dtype), config)
    return model.to(dtype).eval()


def matched(method: Method, model: nn.Module) -> list[tuple[nn.Parameter, nn.Parameter]]:
    """Our parameters beside theirs."""
    pairs = []
    for name, parameter in method.trainable().items():
        module, _, part = name.removeprefix("adapter.updates.").rpartition(".")
        path = f"base_model.model.{module.replace(':', '.')}.{NAMES[part]}"
        pairs.append((parameter, model.get_parameter(path)))
    return pairs


def copy_factors(pairs: list[tuple[nn.Parameter, nn.Parameter]]) -> None:
    with torch.no_grad():
        for own, other in pairs:
            other.copy_(own)


@pytest.mark.parametrize("scaling", ["alpha_over_r", "alpha_over_sqrt_r"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("name", ["lora", "dora"])
def test_outputs_and_gradients_equal(name: str, dropout: float, scaling: str) -> None:
    method, model = ours(name, dropout, scaling), theirs(name, dropout, scaling)
    pairs = matched(method, model)
    assert len(pairs) == sum(p.requires_grad for p in model.parameters())
    copy_factors(pairs)
    losses = []
    for backbone in (method.backbone, model):
        backbone.train()
        torch.manual_seed(8)  # both drop one mask per layer, of the same shape, in the same order
        losses.append(loss(backbone))
        losses[-1].backward()
    torch.testing.assert_close(losses[0], losses[1], rtol=0, atol=1e-10)
    for own, other in pairs:
        torch.testing.assert_close(own.grad, other.grad, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["lora", "dora"])
def test_outputs_equal_in_fp32(name: str) -> None:
    arguments = (name, 0.0, "alpha_over_r", torch.float32)
    method, model = ours(*arguments), theirs(*arguments)
    copy_factors(matched(method, model))
    expected = logits(model)
    torch.testing.assert_close(logits(method.backbone), expected, rtol=1e-6, atol=1e-6 * expected.abs().max().item())


@pytest.mark.parametrize("name", ["lora", "dora"])
def test_starts_are_drawn_from_the_same_distribution(name: str) -> None:
    method = attach(method_from_yaml(name, "r=4"), tiny_llama())
    for own, other in matched(method, theirs(name, 0.0, "alpha_over_r", torch.float32)):
        assert own.shape == other.shape
        if own.dim() == 1 or not own.any():
            torch.testing.assert_close(own, other)
        else:
            torch.testing.assert_close(own.abs().max(), other.abs().max(), rtol=0.15, atol=0)


def test_folded_rows_have_the_trained_lengths() -> None:
    method = ours("dora", 0.0, "alpha_over_r")
    lengths = {name: p.detach() for name, p in method.trainable().items() if name.endswith("m_O")}
    method.merge()
    for name, length_O in lengths.items():
        module = name.removeprefix("adapter.updates.").removesuffix(".m_O").replace(":", ".")
        weight_OI = method.backbone.get_submodule(module).weight
        assert isinstance(weight_OI, Tensor)
        torch.testing.assert_close(weight_OI.norm(dim=1), length_O, rtol=1e-6, atol=1e-6)
