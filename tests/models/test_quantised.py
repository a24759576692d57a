"""Quantised backbones, with the libraries themselves: what is trained, kept, saved, refused and recorded.

On a CPU. Tests of a library that is not installed are skipped; `pip install '.[quantised]'` installs both.
"""

import importlib.util
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.composing import run_config
from tests.methods.tiny import VOCABULARY, attach, logits, loss, method_from_yaml, perturb, tiny_llama
from wegeft import config as config_module
from wegeft import models
from wegeft.config import ModelConfig
from wegeft.errors import UserError
from wegeft.evaluation.journal import fingerprint
from wegeft.experiment import check_fit
from wegeft.methods.base import Method
from wegeft.methods.frozen import view_of
from wegeft.models.quantised import BITS, InputGradient, is_quantised, quantisable, quantise, spared_bytes
from wegeft.planning.measured import step_recipe
from wegeft.records.identity import run_id

LIBRARIES = ("bitsandbytes", "torchao")
KINDS = [(library, bits) for library in LIBRARIES for bits in ("int8", "nf4")]
INPUT_FORM = ("wegeft", "r=4", "weight_dropout=0")
LORA = ("lora", "r=4", "dropout=0")
CPU = torch.device("cpu")

pytestmark = pytest.mark.filterwarnings("ignore")  # what these libraries say when they are imported without a GPU


@pytest.fixture(params=KINDS, ids=["-".join(kind) for kind in KINDS])
def model_config(request: pytest.FixtureRequest) -> ModelConfig:
    library, bits = request.param
    pytest.importorskip(library, reason=f"{library} is not installed")
    return run_config(f"model.quantise={bits}", f"model.quantiser={library}").model


@pytest.fixture
def backbone(model_config: ModelConfig) -> nn.Module:
    return quantised(model_config)


def quantised(config: ModelConfig) -> nn.Module:
    backbone = tiny_llama()
    quantise(backbone, config, CPU)
    return backbone


def adapted(backbone: nn.Module, name: str, *overrides: str) -> Method:
    method = attach(method_from_yaml(name, *overrides), backbone)
    perturb(method)
    return method


def dense_twin(config: ModelConfig, name: str, *overrides: str) -> Method:
    """The same adapter on a dense backbone that holds the dequantised weights."""
    dense, source = tiny_llama(), quantised(config)
    with torch.no_grad():
        for layer in quantisable(source, config.head_modules):
            view = view_of(source.get_submodule(layer))
            assert view is not None
            dense.get_submodule(layer).weight.copy_(view.weight)  # type: ignore[operator]
    return adapted(dense, name, *overrides)


def test_every_linear_layer_but_the_head_is_quantised(model_config: ModelConfig, backbone: nn.Module) -> None:
    layers = {name: module for name, module in backbone.named_modules() if isinstance(module, nn.Linear)}
    assert {name for name, layer in layers.items() if not is_quantised(layer.weight)} == {"lm_head"}
    assert len(layers) == 2 * 7 + 1
    assert not any(
        p.requires_grad for layer in layers.values() if layer is not layers["lm_head"] for p in [layer.weight]
    )
    assert models.count_parameters(backbone) == models.count_parameters(tiny_llama())
    plain = tiny_llama()
    exact, stored = logits(plain), logits(backbone)
    size = (exact - exact.mean()).norm()
    assert 0 < (stored - exact).norm() < {"int8": 0.05, "nf4": 0.4}[str(model_config.quantise)] * size


@pytest.mark.parametrize("method", [INPUT_FORM, LORA], ids=["wegeft", "lora"])
def test_gradients_are_those_of_the_dequantised_weight(
    model_config: ModelConfig, backbone: nn.Module, method: tuple[str, ...]
) -> None:
    ours, dense = adapted(backbone, *method), dense_twin(model_config, *method)
    for one in (ours, dense):
        one.backbone.train()
        loss(one.backbone).backward()
    reference = {name: p.grad for name, p in dense.trainable().items()}
    assert ours.trainable().keys() == reference.keys()
    for name, parameter in ours.trainable().items():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, reference[name], rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize("method", [INPUT_FORM, LORA], ids=["wegeft", "lora"])
def test_nothing_of_the_size_of_a_weight_is_kept_for_the_backward_pass(
    backbone: nn.Module, method: tuple[str, ...]
) -> None:
    adapted(backbone, *method)
    sizes = {32 * 32, 16 * 32, 48 * 32}  # of q and o; of k and v; of gate, up and down
    own = {p.untyped_storage().data_ptr() for p in backbone.parameters() if not is_quantised(p)}
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        if not is_quantised(tensor) and tensor.untyped_storage().data_ptr() not in own:
            kept.append(tensor)
        return tensor

    backbone.train()
    ids = torch.randint(2, VOCABULARY, (3, 5))  # 15 positions: no activation has as many values as a weight
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        backbone(ids, labels=ids).loss.backward()
    assert kept
    assert not [tensor.shape for tensor in kept if tensor.numel() in sizes]


def test_a_few_steps_bring_the_loss_down(backbone: nn.Module) -> None:
    method = attach(method_from_yaml(*INPUT_FORM), backbone)
    before = [p.clone() for p in backbone.parameters() if not p.requires_grad and not is_quantised(p)]
    optimizer = torch.optim.AdamW(method.trainable().values(), lr=1e-2)
    losses = []
    for _ in range(8):
        backbone.train()
        value = loss(backbone)
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(value.item())
        backbone.eval()
        logits(backbone)  # an evaluation in between must leave the weights as they are
    assert losses[-1] < 0.8 * losses[0]
    after = [p for p in backbone.parameters() if not p.requires_grad and not is_quantised(p)]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_weight_dropout_works_on_the_dequantised_weight(model_config: ModelConfig, backbone: nn.Module) -> None:
    options = ("wegeft", "r=4", "weight_dropout=0.3")
    ours, dense = adapted(backbone, *options), dense_twin(model_config, *options)
    losses = []
    for one in (ours, dense):
        one.backbone.train()
        torch.manual_seed(5)
        value = loss(one.backbone)
        value.backward()
        losses.append(value.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    grads = [{name: p.grad for name, p in one.trainable().items()} for one in (ours, dense)]
    for name, gradient in grads[0].items():
        torch.testing.assert_close(gradient, grads[1][name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("method", [INPUT_FORM, LORA], ids=["wegeft", "lora"])
def test_an_adapter_is_saved_loaded_and_not_merged(
    model_config: ModelConfig, backbone: nn.Module, method: tuple[str, ...]
) -> None:
    ours = adapted(backbone, *method)
    expected = logits(backbone)
    state = {name: value.clone() for name, value in ours.adapter_state().items()}
    assert not any(is_quantised(value) for value in state.values())
    again = attach(method_from_yaml(*method), quantised(model_config))
    again.load_adapter_state(state)
    assert torch.equal(logits(again.backbone), expected)
    assert not ours.mergeable
    with pytest.raises(UserError, match=r"evaluation\.merge=false"):
        ours.merge()
    assert torch.equal(logits(backbone), expected)


def test_a_tuner_of_peft_trains_and_is_not_merged(backbone: nn.Module) -> None:
    method = attach(method_from_yaml("peft", "peft_type=LORA", "options={r:4}"), backbone)
    assert not method.mergeable
    loss(backbone.train()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.trainable().values())


def test_the_fingerprint_is_of_the_bits(model_config: ModelConfig, backbone: nn.Module) -> None:
    before = fingerprint(backbone, [])
    assert fingerprint(quantised(model_config), []) == before
    logits(backbone)
    assert fingerprint(backbone, []) == before
    other = tiny_llama(seed=1)
    quantise(other, model_config, CPU)
    assert fingerprint(other, []) != before


def test_a_frozen_layer_keeps_nothing_and_hands_the_gradient_on() -> None:
    scale_O = torch.rand(4)
    bits = nn.Parameter(torch.randint(-9, 9, (4, 6)), requires_grad=False)
    marked: Any = bits
    marked.SCB = scale_O * 127  # as bitsandbytes marks 8 bits
    layer: Any = nn.Linear(6, 4)
    layer.weight, layer.state = bits, SimpleNamespace(SCB=None)
    weight_OI = bits * scale_O[:, None]
    x_NI = torch.randn(3, 6, requires_grad=True)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda tensor: tensor):
        y_NO = InputGradient.apply(x_NI, layer, lambda x: x @ weight_OI.T)  # type: ignore[no-untyped-call]
    y_NO.sum().backward()
    assert kept == []
    torch.testing.assert_close(x_NI.grad, weight_OI.sum(0).expand(3, 6))


# What follows needs neither library.


@pytest.fixture
def neither(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_module, "find_spec", lambda _: None)


def test_the_keys_leave_the_identity_of_a_plain_run_as_it_was() -> None:
    plain = run_config().plain()
    assert not {"quantise", "quantiser"} & plain["model"].keys()
    assert run_id(run_config("model.quantiser=torchao").plain()) == run_id(plain)
    kinds = [run_config(f"model.quantise={bits}", f"model.quantiser={one}").plain() for one, bits in KINDS]
    assert len({run_id(config) for config in (plain, *kinds)}) == 5
    assert len({step_recipe(config) for config in (plain, *kinds)}) == 3  # the bits decide the cost


def test_the_library_that_is_installed_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"torchao"}
    monkeypatch.setattr(config_module, "find_spec", lambda name: name if name in there else None)
    assert run_config("model.quantise=int8").model.quantiser == "torchao"
    there.add("bitsandbytes")
    assert run_config("model.quantise=int8").model.quantiser == "bitsandbytes"


@pytest.mark.usefixtures("neither")
def test_without_a_library_one_sentence_says_what_to_install() -> None:
    with pytest.raises(UserError, match=r"^model\.quantise=int8 needs bitsandbytes or torchao, .*\.\[quantised"):
        run_config("model.quantise=int8")


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_that_was_named_must_be_there_for_a_run(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=rf"^model\.quantiser={library} is not installed"):
        check_fit(run_config("model.quantise=nf4", f"model.quantiser={library}"))


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wegeft.experiment.check_library", lambda _: None)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("method=full", r"method=full trains model\.layers\.0\.self_attn\.q_proj.*model\.quantise=null"),
        ("runtime.distributed=fsdp", r"^runtime\.distributed=fsdp does not shard"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_loaded(override: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        check_fit(run_config("model.quantise=int8", "model.quantiser=torchao", override))


def test_pictures_are_refused() -> None:
    with pytest.raises(UserError, match=r"^model\.quantise=int8 is for language backbones, not for model=mini_vit"):
        run_config("task=mini_fgvc/birds", "+model.quantise=int8", "+model.quantiser=torchao")


@pytest.mark.parametrize("bits", ["int8", "nf4"])
def test_a_plan_counts_the_bits(bits: str) -> None:
    config = run_config(f"model.quantise={bits}", "model.quantiser=torchao").model
    skeleton = models.skeleton(config).requires_grad_(False)
    weights = [layer.weight for layer in quantisable(skeleton, ()).values()]
    values = sum(weight.numel() for weight in weights)
    assert spared_bytes(skeleton, config) == pytest.approx(values * (32 - BITS[bits]) / 8)
    weights[0].requires_grad_(True)
    assert spared_bytes(skeleton, config) == pytest.approx((values - weights[0].numel()) * (32 - BITS[bits]) / 8)


def test_the_heads_of_a_task_are_left_alone() -> None:
    config = run_config("task=glue/cola", "scale=small", "model=roberta_base").model
    names = quantisable(models.skeleton(config), config.head_modules)
    assert names
    assert not [name for name in names if name.startswith("classifier")]
