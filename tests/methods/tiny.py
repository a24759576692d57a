"""A tiny grouped-query Llama, a tiny vision transformer, and the method configurations as a person would compose them.

The methods under test are the files of `configs/method`, so a new one enters the tests by being there.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from tests.composing import composed, families
from wegeft.methods import build_method
from wegeft.methods.base import Method

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
VOCABULARY = 61
CLASSES = 7
TASKS = {"causal_lm": "commonsense", "image_classifier": "fgvc/cub"}
"""A task for each kind of backbone, which decides what the method configurations refer to."""

AnyMethod = TypeVar("AnyMethod", bound=Method)


@functools.cache
def compose_config(*overrides: str) -> dict[str, Any]:
    """The resolved `model` and `method` nodes of the main config."""
    config = composed(*overrides)
    return {key: config[key] for key in ("model", "method")}


def method_from_yaml(name: str, *overrides: str, scale: str = "mini", family: str = "causal_lm") -> Method:
    """The method of `configs/method/<name>.yaml`; overrides without the leading `method.`."""
    lines = [f"method={name}", f"scale={scale}", f"task={TASKS[family]}", *(f"method.{line}" for line in overrides)]
    return build_method(compose_config(*lines)["method"])


CASES = [
    (path.stem, family)
    for path in sorted((CONFIGS / "method").glob("*.yaml"))
    for family in TASKS
    if family in families("method", path.stem)
]
"""Every method with every kind of backbone that it works on."""
METHODS = [name for name, family in CASES if family == "causal_lm"]


def tiny_backbone(family: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    """The tiny network of a kind of backbone."""
    return tiny_llama(dtype=dtype) if family == "causal_lm" else tiny_vit(dtype)


def tiny_vit(dtype: torch.dtype = torch.float32) -> VisionTransformer:
    """Two blocks of width 32 on images of 16 pixels, random weights large enough to tell."""
    torch.manual_seed(0)
    backbone = VisionTransformer(
        img_size=16, patch_size=8, embed_dim=32, depth=2, num_heads=4, mlp_ratio=1.5, num_classes=CLASSES
    )
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, device="cpu").to(parameter.device))
    return backbone.to(dtype).eval()


def tiny_llama(seed: int = 0, dtype: torch.dtype = torch.float32) -> LlamaForCausalLM:
    """Two layers of width 32, four query heads that share two key-value heads, random weights large enough to tell."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.2,
        bos_token_id=1,
        eos_token_id=None,
        pad_token_id=0,
    )
    torch.manual_seed(seed)
    backbone = LlamaForCausalLM(config)
    nn.Module.to(backbone, dtype)
    backbone.eval()
    return backbone


def attach(method: AnyMethod, backbone: nn.Module, heads: Sequence[str] = ()) -> AnyMethod:
    """`method` on `backbone`, factors drawn with a fixed seed, in evaluation mode."""
    torch.manual_seed(1)
    method.attach(backbone, heads)
    backbone.eval()
    return method


def perturb(method: Method, size: float = 0.05) -> None:
    """Move every trainable value, as training would."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in method.trainable().values():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))


def skip_untrained(method: Method) -> None:
    """Leave a test that is about training if `method` trains nothing."""
    if not method.trainable():
        pytest.skip("trains nothing")


def token_ids(batch: int = 3, length: int = 9) -> Tensor:
    """Random tokens, (B, L)."""
    return torch.randint(2, VOCABULARY, (batch, length), generator=torch.Generator().manual_seed(3))


def images(backbone: nn.Module) -> Tensor:
    """Random images in the dtype of the backbone, (B, C, H, W)."""
    pixels_BCHW = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    return pixels_BCHW.to(next(backbone.parameters()).dtype)


def logits(backbone: nn.Module) -> Tensor:
    """Logits for `token_ids` or `images`, without gradients."""
    with torch.no_grad():
        output: Tensor = (
            backbone(images(backbone)) if isinstance(backbone, VisionTransformer) else backbone(token_ids()).logits
        )
    return output


def loss(backbone: nn.Module) -> Tensor:
    """The language-model loss on `token_ids`, or the classifier's on `images`."""
    if isinstance(backbone, VisionTransformer):
        return F.cross_entropy(backbone(images(backbone)).float(), torch.tensor([0, 3, 6]))
    value: Tensor = backbone(token_ids(), labels=token_ids()).loss
    return value
