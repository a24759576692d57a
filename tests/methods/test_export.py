"""Adapters taken elsewhere: into an unchanged PEFT, and into checkpoints that transformers loads."""

import json
from pathlib import Path

import peft
import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from tests.methods.tiny import METHODS, attach, logits, method_from_yaml, perturb, tiny_llama
from wegeft.errors import UserError
from wegeft.methods.base import Method
from wegeft.methods.export import export_lora, export_merged

# PEFT asks transformers for a property that the latter has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")

LORAS = [
    ("wegeft", ()),
    ("wegeft", ("recipe=v3", "side=output")),
    ("wegeft", ("recipe=v3", "bias=true", "sharing=per_layer")),
    ("wegeft", ("recipe=v3", "block=gelu", "sharing=equal_width")),
    ("lora", ()),
    ("lora", ("scaling=alpha_over_sqrt_r",)),
]


def trained(name: str, backbone: nn.Module, *overrides: str) -> Method:
    method = attach(method_from_yaml(name, *overrides), backbone)
    perturb(method)
    return method


@pytest.mark.parametrize(("name", "overrides"), LORAS)
def test_stock_peft_loads_the_lora_folder(name: str, overrides: tuple[str, ...], tmp_path: Path) -> None:
    backbone = tiny_llama()
    method = trained(name, backbone, *overrides)
    export_lora(method, tmp_path, base_model="somewhere/llama", task_type="CAUSAL_LM")
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["peft_type"], config["base_model_name_or_path"]) == ("LORA", "somewhere/llama")
    loaded = peft.PeftModel.from_pretrained(tiny_llama(), str(tmp_path)).eval()
    torch.testing.assert_close(logits(loaded), logits(backbone), rtol=0, atol=2e-5)


@pytest.mark.parametrize("targets", ["[c_attn.q,c_attn.v]", "[c_attn.k,attn.c_proj]"])
def test_parts_of_a_fused_conv1d_become_one_lora(targets: str, tmp_path: Path) -> None:
    def gpt2() -> nn.Module:
        torch.manual_seed(0)
        config = GPT2Config(vocab_size=61, n_positions=16, n_embd=24, n_layer=2, n_head=2, initializer_range=0.2)
        model: nn.Module = GPT2LMHeadModel(config)
        return model.eval()

    backbone = gpt2()
    method = trained("wegeft", backbone, "r=4", f"target_modules={targets}")
    export_lora(method, tmp_path)
    loaded = peft.PeftModel.from_pretrained(gpt2(), str(tmp_path)).eval()
    torch.testing.assert_close(logits(loaded), logits(backbone), rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", ["dora", "red", "full", "none"])
def test_what_is_no_lora_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"method={name} is no LoRA"):
        export_lora(trained(name, tiny_llama()), tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()


def test_a_trained_head_is_not_lost_silently(tmp_path: Path) -> None:
    method = attach(method_from_yaml("lora"), tiny_llama(), ["lm_head"])
    with pytest.raises(UserError, match="no place for a trained head"):
        export_lora(method, tmp_path)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("red", "bitfit")])
def test_transformers_loads_the_folded_checkpoint(name: str, tmp_path: Path) -> None:
    backbone = tiny_llama()
    method = trained(name, backbone)
    adapted = logits(backbone)
    export_merged(method, tmp_path)
    assert (tmp_path / "model.safetensors").exists()
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(logits(loaded), adapted, rtol=0, atol=2e-5)


def test_a_bias_that_the_architecture_cannot_store_is_refused(tmp_path: Path) -> None:
    backbone = tiny_llama()
    method = trained("red", backbone)
    adapted = logits(backbone)
    with pytest.raises(UserError, match=r"method=red adds biases to model\.layers\.0\.mlp\.down_proj"):
        export_merged(method, tmp_path)
    assert torch.equal(logits(backbone), adapted)
