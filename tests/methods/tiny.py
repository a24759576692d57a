"""A tiny grouped-query Llama, and the method configurations as a person would compose them.

The methods under test are the files of `configs/method`, so a new one enters the tests by being there.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from wegeft.methods import build_method
from wegeft.methods.base import Method

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
METHODS = sorted(path.stem for path in (CONFIGS / "method").glob("*.yaml"))
VOCABULARY = 61

AnyMethod = TypeVar("AnyMethod", bound=Method)


@functools.cache
def compose_config(*overrides: str) -> dict[str, Any]:
    """The resolved `model` and `method` nodes of the main config."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("config", overrides=list(overrides))
    return {key: OmegaConf.to_container(config[key], resolve=True) for key in ("model", "method")}


def method_from_yaml(name: str, *overrides: str, scale: str = "mini") -> Method:
    """The method of `configs/method/<name>.yaml`; overrides without the leading `method.`."""
    lines = [f"method={name}", f"scale={scale}", *(f"method.{line}" for line in overrides)]
    return build_method(compose_config(*lines)["method"])


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


def logits(backbone: nn.Module) -> Tensor:
    """Logits for `token_ids`, without gradients."""
    with torch.no_grad():
        output: Tensor = backbone(token_ids()).logits
    return output


def loss(backbone: nn.Module) -> Tensor:
    """The language-model loss on `token_ids`."""
    value: Tensor = backbone(token_ids(), labels=token_ids()).loss
    return value
