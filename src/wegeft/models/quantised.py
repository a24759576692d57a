"""Language backbones whose frozen linear layers are kept in 8 or 4 bits (``model.quantise``).

    int8   one scale per row. bitsandbytes: LLM.int8() (Dettmers et al., arXiv 2208.07339), which rounds activations
           too, those above its threshold apart; torchao: weights only.
    nf4    4 bits, quantiles of a normal distribution, one scale per 64 entries, the scales quantised again (QLoRA,
           Dettmers et al., arXiv 2305.14314).

Heads, embeddings, norms and biases stay in ``model.dtype``. Of a frozen layer the backward pass wants the gradient of
the input alone, so nothing has to be kept for it: W is dequantised when its turn comes and dropped again.

Does not: train what is quantised, choose a library (the configuration does), or write quantised checkpoints.
"""

import importlib
import importlib.util
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from wegeft.config import ModelConfig
from wegeft.errors import UserError

OUTLIER = 6.0
"""Activations above it are multiplied in 16 bits by LLM.int8(): the value of its paper."""

NF4_BLOCK, SCALE_BLOCK = 64, 256
"""Entries that share a scale, and scales that share a scale: the values of QLoRA."""

BITS = {"int8": 8.0, "nf4": 4.0 + 8 / NF4_BLOCK + 32 / (NF4_BLOCK * SCALE_BLOCK)}
"""Of an entry, with its share of the scales that are no fixed number a row."""


def quantise(model: nn.Module, config: ModelConfig, device: torch.device) -> None:
    """Keep the linear layers of ``model`` in few bits, in place and one by one, and move everything to ``device``."""
    build = _BUILDERS[config.quantiser, config.quantise]
    layers = quantisable(model, config.head_modules)
    for name, layer in layers.items():
        model.set_submodule(name, build(layer, device))
    done = {id(model.get_submodule(name).weight) for name in layers}
    for tensor in (*model.parameters(), *model.buffers()):
        if id(tensor) not in done:
            tensor.data = tensor.data.to(device)


def quantisable(model: nn.Module, heads: Sequence[str]) -> dict[str, nn.Linear]:
    """The linear layers of ``model`` by name, without its output embeddings and what lies in a task's ``heads``."""
    of_transformers: Any = model
    output = of_transformers.get_output_embeddings()
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    inside = {name for name in linear for head in heads if f".{head}." in f".{name}."}
    return {name: layer for name, layer in linear.items() if layer is not output and name not in inside}


def spared_bytes(model: nn.Module, config: ModelConfig) -> float:
    """How much smaller the frozen weights of an unquantised ``model`` get in the bits that ``config`` asks for."""
    if config.quantise is None:
        return 0.0
    weights = [layer.weight for layer in quantisable(model, config.head_modules).values()]
    return sum(w.nbytes - w.numel() * BITS[config.quantise] / 8 for w in weights if not w.requires_grad)


def check_library(config: ModelConfig) -> None:
    """Raise a `UserError` unless the library that ``config`` names is installed."""
    if importlib.util.find_spec(config.quantiser) is None:
        raise UserError(f"model.quantiser={config.quantiser} is not installed: pip install '.[quantised]'.")


def is_quantised(weight: Tensor) -> bool:
    """Whether a weight is stored in fewer bits: torchao's tensors tell by their class, bitsandbytes' by their dtype."""
    return type(weight).__module__.startswith("torchao.") or not weight.dtype.is_floating_point


def dequantised(layer: Any) -> Tensor:
    """W of a quantised linear layer, (O, I), computed anew."""
    stored = layer.weight
    if hasattr(stored, "SCB"):  # bitsandbytes, 8 bits: one scale per row, kept by the layer after its first use
        scale_O = stored.SCB if layer.state.SCB is None else layer.state.SCB
        weight_OI: Tensor = stored.data * (scale_O / 127)[:, None]
    elif hasattr(stored, "quant_state"):  # bitsandbytes, 4 bits
        functional = importlib.import_module("bitsandbytes.functional")
        weight_OI = functional.dequantize_4bit(stored.data, stored.quant_state)
    elif hasattr(stored, "get_original_weight"):  # torchao, 4 bits
        weight_OI = stored.detach().get_original_weight()
    else:
        weight_OI = stored.detach().dequantize()
    return weight_OI


def values_of(parameter: Tensor) -> int:
    """How many values a parameter stands for; bitsandbytes packs two of 4 bits into a byte."""
    state = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else math.prod(state.shape)


def with_input_gradient(layer: nn.Module, kernel: Callable[[Tensor], Tensor], x_NI: Tensor) -> Tensor:
    """``kernel(x_NI)``, which is W x + b of the frozen, quantised ``layer``; see :class:`InputGradient`."""
    if torch.is_grad_enabled() and x_NI.requires_grad:
        y_NO: Tensor = InputGradient.apply(x_NI, layer, kernel)  # type: ignore[no-untyped-call]  # torch's
        return y_NO
    return kernel(x_NI)


class InputGradient(torch.autograd.Function):
    """W x + b by the layer's own kernel; the backward pass dequantises W for as long as it multiplies with it.

    torchao's own kernels would keep W in the dtype of x until then, and those of bitsandbytes would keep x.
    """

    @staticmethod
    def forward(ctx: Any, x_NI: Tensor, layer: nn.Module, kernel: Callable[[Tensor], Tensor]) -> Tensor:
        """See the class."""
        ctx.layer = layer
        return kernel(x_NI)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None, None]:
        """The gradient of x."""
        (gradient_NO,) = gradients
        return gradient_NO @ dequantised(ctx.layer).to(gradient_NO.dtype), None, None


class TorchAOLinear(nn.Linear):
    """A linear layer with a weight of torchao."""

    @classmethod
    def of(cls, layer: nn.Linear, weight: Tensor) -> "TorchAOLinear":
        """``layer`` with ``weight`` in the place of its own."""
        new = cls(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
        new.weight, new.bias = nn.Parameter(weight, requires_grad=False), layer.bias
        return new.train(layer.training)

    def forward(self, input: Tensor) -> Tensor:
        """(..., I) to (..., O)."""
        return with_input_gradient(self, super().forward, input)


def _torchao_int8(layer: nn.Linear, device: torch.device) -> nn.Module:
    quantization = importlib.import_module("torchao.quantization")
    weight = quantization.Int8Tensor.from_hp(_weight(layer, device), granularity=quantization.PerRow())
    return TorchAOLinear.of(layer, weight)


def _torchao_nf4(layer: nn.Linear, device: torch.device) -> nn.Module:
    weight_OI = _weight(layer, device)
    blocks, rest = divmod(weight_OI.numel(), NF4_BLOCK)
    if rest:
        raise UserError(
            f"model.quantise=nf4: a layer of {layer.out_features} × {layer.in_features} does not divide into torchao's "
            f"blocks of {NF4_BLOCK}; choose int8, or install bitsandbytes."
        )
    to_nf4 = importlib.import_module("torchao.quantization").to_nf4
    # A small layer has fewer scales than share one.
    return TorchAOLinear.of(layer, to_nf4(weight_OI, NF4_BLOCK, math.gcd(blocks, SCALE_BLOCK)))


def _bitsandbytes_int8(layer: nn.Linear, device: torch.device) -> nn.Module:
    # Otherwise it says at every product that the input is cast to fp16, which is how the method works.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    modules = importlib.import_module("bitsandbytes.nn")
    new = modules.Linear8bitLt(*_shape(layer), has_fp16_weights=False, threshold=OUTLIER, device="meta")
    weight = modules.Int8Params(_weight(layer, torch.device("cpu")), requires_grad=False, has_fp16_weights=False)
    return _filled(new, layer, weight.to(device))  # quantises on the way


def _bitsandbytes_nf4(layer: nn.Linear, device: torch.device) -> nn.Module:
    modules = importlib.import_module("bitsandbytes.nn")
    new = modules.Linear4bit(*_shape(layer), compute_dtype=layer.weight.dtype, quant_type="nf4", device="meta")
    # Where the processor has AVX-512, it would pack W anew for evaluation, into a form that has no gradient.
    new.support_avx512bf16_for_cpu = False
    weight = modules.Params4bit(
        _weight(layer, torch.device("cpu")), blocksize=NF4_BLOCK, compress_statistics=True, quant_type="nf4", module=new
    )
    return _filled(new, layer, weight.to(device))


def _weight(layer: nn.Linear, device: torch.device) -> Tensor:
    return layer.weight.detach().to(device)


def _shape(layer: nn.Linear) -> tuple[int, int, bool]:
    return layer.in_features, layer.out_features, layer.bias is not None


def _filled(new: Any, layer: nn.Linear, weight: Any) -> nn.Module:
    """The layer ``new`` of bitsandbytes with ``weight``, the bias of ``layer`` and its mode."""
    new.weight, new.bias = weight, layer.bias
    filled: nn.Module = new.train(layer.training)
    return filled


_BUILDERS: Mapping[tuple[str, str | None], Callable[[nn.Linear, torch.device], nn.Module]] = {
    ("bitsandbytes", "int8"): _bitsandbytes_int8,
    ("bitsandbytes", "nf4"): _bitsandbytes_nf4,
    ("torchao", "int8"): _torchao_int8,
    ("torchao", "nf4"): _torchao_nf4,
}
