"""PEFT's own methods from YAML alone, and what the bridge refuses."""

from dataclasses import fields

import peft
import pytest
import torch

from tests.composing import run_config
from tests.methods.tiny import attach, compose_config, logits, loss, method_from_yaml, perturb, tiny_llama
from wegeft.config import ModelConfig
from wegeft.errors import UserError
from wegeft.methods import build_method
from wegeft.methods.base import Method
from wegeft.methods.peft_bridge import PeftBridge, attachable
from wegeft.models import skeleton
from wegeft.records.identity import run_id


def bridge(peft_type: str, options: str = "{}") -> Method:
    return method_from_yaml("peft", f"peft_type={peft_type}", f"options={options}")


@pytest.mark.filterwarnings("ignore:Unsupported layer type")  # LN_TUNING says so of Llama's norms
@pytest.mark.parametrize(
    ("peft_type", "options"),
    [
        ("LORA", "{r: 4, use_dora: true}"),
        ("VERA", "{r: 8}"),
        ("FOURIERFT", "{n_frequency: 20}"),
        ("IA3", "{feedforward_modules: [down_proj]}"),
        ("HRA", "{r: 4}"),
        ("OFT", "{oft_block_size: 4}"),
        ("VBLORA", "{r: 2, num_vectors: 8, vector_length: 8, topk: 2}"),
        ("LN_TUNING", "{target_modules: [input_layernorm]}"),
    ],
)
def test_a_type_trains_merges_saves_and_leaves(peft_type: str, options: str) -> None:
    backbone = tiny_llama()
    plain = {name: v.clone() for name, v in backbone.state_dict().items()}
    method = attach(bridge(peft_type, options), backbone)
    perturb(method)
    loss(backbone).backward()
    assert method.trainable()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.trainable().values())

    adapted = logits(backbone)
    fresh = attach(bridge(peft_type, options), tiny_llama())
    fresh.load_adapter_state(method.adapter_state())
    assert torch.equal(logits(fresh.backbone), adapted)

    if method.mergeable:
        before = {name: v.clone() for name, v in backbone.state_dict().items()}
        method.merge()
        torch.testing.assert_close(logits(backbone), adapted, rtol=0, atol=1e-4)
        method.unmerge()
        assert all(torch.equal(v, before[name]) for name, v in backbone.state_dict().items())
    method.detach()
    assert all(torch.equal(v, plain[name]) for name, v in backbone.state_dict().items())


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT's wrapper reads it
@pytest.mark.parametrize(
    ("peft_type", "options"),
    [("LORA", "{r: 4}"), ("VERA", "{r: 8}"), ("IA3", "{feedforward_modules: [down_proj]}")],
)
def test_the_adapter_of_a_bf16_backbone_is_fp32_as_peft_has_it(peft_type: str, options: str) -> None:
    method = attach(bridge(peft_type, options), tiny_llama(dtype=torch.bfloat16))
    assert isinstance(method, PeftBridge)
    stock = peft.get_peft_model(tiny_llama(dtype=torch.bfloat16), method._tuner.peft_config["default"])
    wanted = {name.removeprefix("base_model.model."): p.dtype for name, p in stock.named_parameters()}
    assert {name: p.dtype for name, p in method.backbone.named_parameters()} == wanted
    assert {p.dtype for p in method.trainable().values()} == {torch.float32}
    assert logits(method.backbone).dtype == torch.bfloat16
    adapted = logits(method.backbone)
    perturb(method)
    moved = logits(method.backbone)
    assert not torch.equal(moved, adapted)
    method.merge()
    torch.testing.assert_close(logits(method.backbone), moved, rtol=0, atol=0.25)


def test_small_steps_reach_the_vectors_over_a_bf16_backbone() -> None:
    method = attach(bridge("IA3", "{feedforward_modules: [down_proj]}"), tiny_llama(dtype=torch.bfloat16))
    parameters = method.trainable()
    before = {name: p.detach().clone() for name, p in parameters.items()}
    loss(method.backbone).backward()
    torch.optim.AdamW(parameters.values(), lr=1e-3, weight_decay=0.0).step()
    assert all((p != before[name]).float().mean() > 0.9 for name, p in parameters.items())


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("method.peft_type=NOPE", "method.peft_type=NOPE cannot be attached; choose .*LORA.*VERA"),
        ("method.peft_type=PREFIX_TUNING", "method.peft_type=PREFIX_TUNING cannot be attached"),
        ("method.peft_type=ADALORA", "method.peft_type=ADALORA cannot be attached"),
        ("method.options={rank: 3}", "method.options.rank is no option of method.peft_type=VERA; choose r, "),
        ("method.options={r: -1}", "method.peft_type=VERA does not fit the backbone"),
        ("method.options={r: 0}", "method.peft_type=VERA does not fit the backbone"),
        ("method.target_modules=[q_porj]", "method.target_modules=q_porj is not in the backbone"),
    ],
)
def test_bad_input_ends_in_a_sentence(line: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        attach(build_method(compose_config("method=peft", line)["method"]), tiny_llama())


@pytest.mark.filterwarnings("ignore:Unsupported layer type", "ignore:Detected that the base layer has no bias")
@pytest.mark.parametrize("peft_type", sorted(set(attachable()) - {"TRAINABLE_TOKENS", "BOFT"}))
def test_a_type_is_attached_by_its_name_alone(peft_type: str) -> None:
    """With the options that `configs/method/peft.yaml` gives it.

    Not TRAINABLE_TOKENS, whose options only a person can say, and not BOFT, which first builds a CUDA extension.
    """
    node = compose_config("method=peft", f"method.peft_type={peft_type}")
    backbone = skeleton(ModelConfig.model_validate(node["model"]))
    assert attach(build_method(node["method"]), backbone).trainable()
    known = {field.name for field in fields(attachable()[peft_type][1])}
    for scale in ("small", "paper"):
        assert known >= set(
            compose_config("method=peft", f"method.peft_type={peft_type}", f"scale={scale}")["method"]["options"]
        )


@pytest.mark.filterwarnings("ignore:Detected that the base layer has no bias")
@pytest.mark.parametrize(("peft_type", "folds"), [("BEFT", False), ("LILY", False), ("OSF", False), ("IA3", True)])
def test_a_type_that_cannot_be_folded_and_unfolded_says_so(peft_type: str, folds: bool) -> None:
    """A run evaluates it unfolded then, instead of failing after it was trained."""
    options = "{r: 4}" if peft_type == "LILY" else "{}"
    assert attach(bridge(peft_type, options), tiny_llama()).mergeable is folds


@pytest.mark.parametrize(("peft_type", "option"), [("IA3", "r"), ("FOURIERFT", "r"), ("LORA", "vera_dropout")])
def test_an_option_of_another_type_is_refused_even_if_it_is_a_default_there(peft_type: str, option: str) -> None:
    with pytest.raises(
        UserError, match=f"method.options.{option} is no option of method.peft_type={peft_type}; choose"
    ):
        attach(bridge(peft_type, f"{{{option}: 32}}"), tiny_llama())


def test_tokens_to_train_have_to_be_said() -> None:
    with pytest.raises(UserError, match=r"no option of method\.peft_type=TRAINABLE_TOKENS; choose .*token_indices"):
        attach(method_from_yaml("peft", "peft_type=TRAINABLE_TOKENS"), tiny_llama())


def test_the_defaults_of_types_leave_the_identity_alone() -> None:
    config = run_config("method=peft", "method.peft_type=LORA").plain()
    identity = run_id(config)
    del config["method"]["options_of_type"]
    assert run_id(config) == identity
