"""WeGeFT in an unchanged PEFT: what PEFT's own shared tests ask of every tuner of linear layers, and WeGeFT's part.

Of those shared tests, these do not apply: batches that mix adapters (LoRA, RoAd and GLoRA can) and weighted sums of
adapters (LoRA, AdaLoRA and IA³ can), neither of which WeGeFT offers; prompt learning, embeddings and convolutions
(WeGeFT adapts linear layers); and quantised checkpoints for a GPU.
"""

import copy
import json
import pickle  # noqa: TID251  # PEFT promises that its models can be pickled; nothing from outside is read here
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file
from torch import nn
from transformers import BartConfig, BartForConditionalGeneration, GPT2Config, GPT2LMHeadModel

from tests.methods.tiny import attach, logits, loss, method_from_yaml, tiny_llama, token_ids
from wegeft.methods import input_edit
from wegeft.methods.wegeft import InputUpdate
from wegeft.peft import WeGeFTConfig, WeGeFTLinear

# PEFT asks transformers for a property that the latter has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")

TARGETS = ["q_proj", "k_proj", "v_proj", "up_proj", "down_proj"]
VARIANTS: dict[str, dict[str, Any]] = {
    "v5": {"weight_dropout": 0.1},
    "v3": {"scaling": "one", "zero": "psi"},
    "per_layer": {"sharing": "per_layer"},
    "equal_width": {"sharing": "equal_width"},
    "patterns": {"sharing": ["q_proj|k_proj", "v_proj"]},
    "output": {"side": "output"},
    "generated": {"form": "generated"},
    "block": {"block": "gelu", "zero": "psi"},
    "biases": {"factor_bias": True},
}
SMALL_STACK = {"layers": 1, "ffn_dim": 32, "attention_heads": 2}
every_variant = pytest.mark.parametrize("variant", VARIANTS)


def config(variant: str = "v5", **changes: Any) -> WeGeFTConfig:
    return WeGeFTConfig(**{"r": 4, "alpha": 8, "target_modules": list(TARGETS), **VARIANTS[variant], **changes})


def adapted(variant: str = "v5", dtype: torch.dtype = torch.float32, **changes: Any) -> Any:
    """A PEFT model whose adapter has moved away from its start, in evaluation mode."""
    torch.manual_seed(1)
    model = peft.get_peft_model(tiny_llama(dtype=dtype), config(variant, **changes))
    move(model)
    return model.eval()


def move(model: nn.Module, adapter: str = "default", seed: int = 2) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if f"wegeft_update.{adapter}." in name:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))


def layers(model: nn.Module) -> Iterator[WeGeFTLinear]:
    return (module for module in model.modules() if isinstance(module, WeGeFTLinear))


@every_variant
def test_starts_as_the_plain_model(variant: str) -> None:
    model = peft.get_peft_model(tiny_llama(), config(variant)).eval()
    assert torch.equal(logits(model), logits(tiny_llama()))
    assert not torch.equal(logits(adapted(variant)), logits(tiny_llama()))


def test_random_factors_on_request() -> None:
    model = peft.get_peft_model(tiny_llama(), config(init_weights=False)).eval()
    assert not torch.equal(logits(model), logits(tiny_llama()))


def test_computes_what_the_method_computes() -> None:
    model = adapted()
    method = attach(method_from_yaml("wegeft", "r=4", "alpha=8"), tiny_llama())
    state = {
        f"adapter.updates.{name.rpartition('.wegeft_update')[0].rpartition('.')[2]}.{name.rpartition('.')[2]}": p
        for name, p in model.named_parameters()
        if p.requires_grad
    }
    method.load_adapter_state(state)
    assert torch.equal(logits(method.backbone), logits(model))


@every_variant
def test_trains_only_the_factors(variant: str) -> None:
    model = adapted(variant)
    model.train()
    loss(model).backward()
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (parameter.grad is not None) == ("wegeft_" in name), name


def test_layers_that_read_the_same_input_edit_it_together(monkeypatch: pytest.MonkeyPatch) -> None:
    edit = input_edit.edited_inputs
    together = []

    def counted(x_NI: torch.Tensor, pairs: Any, *options: Any, **more: Any) -> Any:
        together.append(len(pairs))
        return edit(x_NI, pairs, *options, **more)

    monkeypatch.setattr(input_edit, "edited_inputs", counted)
    model = adapted("v3", form="input")
    alone = copy.deepcopy(model)
    for module in alone.modules():
        if isinstance(module, InputUpdate):
            module.shared_inputs.clear()
    loss(model).backward()
    assert together == [3, 3]  # q, k and v; the others read what no other layer does
    loss(alone).backward()
    for one, other in zip(model.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=1e-6)
    copy.deepcopy(model)  # nothing of the computation is kept


def test_nothing_is_held_of_a_pass_that_broke_off() -> None:
    model = adapted("v3", form="input")
    q_proj = next(layers(model)).base_layer

    def fail(*_: object) -> None:
        raise MemoryError

    hook = q_proj.register_forward_pre_hook(fail)
    with pytest.raises(MemoryError):
        loss(model)
    hook.remove()
    updates = [module for module in model.modules() if isinstance(module, InputUpdate)]
    shared = {one for update in updates for one in update.shared_inputs.values()}
    assert len(shared) == 2
    assert all(one._x_NI is None and not one._edited for one in shared)


def test_gradient_checkpointing_gives_the_same_gradients() -> None:
    gradients = []
    for checkpointing in (False, True):
        model = adapted()
        if checkpointing:
            model.get_base_model().activation_checkpointing_enable({"use_reentrant": False})
        model.train()
        torch.manual_seed(5)
        loss(model).backward()
        gradients.append([p.grad for p in model.parameters() if p.requires_grad])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-7)


def test_checkpointing_survives_layers_that_read_different_inputs() -> None:
    """In cross-attention q reads another tensor than k and v; what is computed again must be what was computed."""
    small: dict[str, Any] = {
        "vocab_size": 60,
        "d_model": 32,
        "dropout": 0.0,
        "decoder_start_token_id": 2,
        "forced_eos_token_id": None,
    }
    sizes: dict[str, Any] = {f"{part}_{what}": n for part in ("encoder", "decoder") for what, n in SMALL_STACK.items()}
    ids_BL = torch.arange(3, 17).view(2, 7)
    found = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        bart = BartForConditionalGeneration(BartConfig(**small, **sizes))
        model = peft.get_peft_model(bart, config("v3", target_modules=["q_proj", "k_proj", "v_proj"], form="input"))
        move(model)
        if checkpointing:
            bart.activation_checkpointing_enable({"use_reentrant": False})
        parameters = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.SGD(parameters, lr=1e-3)
        for _ in range(3):
            optimizer.zero_grad()
            model.train()(input_ids=ids_BL, labels=ids_BL[:, :5].contiguous()).loss.backward()
            optimizer.step()
        found.append(torch.cat([p.detach().flatten() for p in parameters]))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-6)


@every_variant
def test_saves_shared_factors_once_and_loads(variant: str, tmp_path: Path) -> None:
    model = adapted(variant)
    model.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "README.md",
    }
    saved = load_file(tmp_path / "adapter_model.safetensors")
    trainable = [p for p in model.parameters() if p.requires_grad]
    assert sum(v.numel() for v in saved.values()) == sum(p.numel() for p in trainable)
    loaded = peft.PeftModel.from_pretrained(tiny_llama(), str(tmp_path)).eval()
    assert torch.equal(logits(loaded), logits(model))
    assert not any(p.requires_grad for p in loaded.parameters())
    assert json.loads((tmp_path / "adapter_config.json").read_text())["peft_type"] == "WEGEFT"


@pytest.mark.parametrize("changes", [{}, {"block": "mlp"}, {"block": "transformer"}], ids=str)
def test_loads_without_allocating_twice(changes: dict[str, Any], tmp_path: Path) -> None:
    model = adapted("v3", **changes)
    model.save_pretrained(tmp_path)
    loaded = peft.PeftModel.from_pretrained(tiny_llama(), str(tmp_path), low_cpu_mem_usage=True).eval()
    assert torch.equal(logits(loaded), logits(model))


def test_goes_on_training_after_loading(tmp_path: Path) -> None:
    adapted().save_pretrained(tmp_path)
    loaded = peft.PeftModel.from_pretrained(tiny_llama(), str(tmp_path), is_trainable=True)
    loss(loaded).backward()
    assert all(p.grad is not None for n, p in loaded.named_parameters() if "wegeft_" in n)


def test_keeps_the_given_config_object(tmp_path: Path) -> None:
    adapted().save_pretrained(tmp_path)
    given = config()
    loaded = peft.PeftModel.from_pretrained(tiny_llama(), str(tmp_path), is_trainable=False, config=given)
    assert loaded.peft_config["default"] is given
    assert given.inference_mode


def test_config_round_trip(tmp_path: Path) -> None:
    given = config("patterns", modules_to_save=["lm_head"])
    given.save_pretrained(str(tmp_path))
    read = peft.PeftConfig.from_pretrained(str(tmp_path))
    assert isinstance(read, WeGeFTConfig)
    # PEFT marks what it saves as an adapter for inference.
    assert {**read.to_dict(), "inference_mode": False} == given.to_dict()


def test_several_adapters(tmp_path: Path) -> None:
    model = adapted()
    first = logits(model)
    model.add_adapter("second", config("per_layer"))
    move(model, "second", seed=7)
    assert torch.equal(logits(model), first)
    model.set_adapter("second")
    second = logits(model)
    assert not torch.equal(second, first)
    assert {n.split("wegeft_update.")[1].split(".")[0] for n, p in model.named_parameters() if p.requires_grad} == {
        "second"
    }
    model.save_pretrained(tmp_path)
    other = peft.PeftModel.from_pretrained(tiny_llama(), str(tmp_path)).eval()
    assert other.load_adapter(str(tmp_path / "second"), "second").missing_keys == []
    assert torch.equal(logits(other), first)
    other.set_adapter("second")
    assert torch.equal(logits(other), second)
    model.set_adapter("default")
    assert torch.equal(logits(model), first)


def test_only_the_chosen_adapter_is_saved_whatever_the_names(tmp_path: Path) -> None:
    model = adapted()
    expected = len(get_peft_model_state_dict(model))
    for name in ("default2", "other_default", "foodefault_bar", "efaul"):
        model.add_adapter(name, config())
    model.save_pretrained(tmp_path, selected_adapters=["default"])
    assert len(load_file(tmp_path / "adapter_model.safetensors")) == expected


@pytest.mark.filterwarnings("ignore:Adapter .* was active which is now deleted")
def test_delete_adapter() -> None:
    model = adapted()
    first = logits(model)
    model.add_adapter("second", config())
    move(model, "second", seed=7)
    model.set_adapter("second")
    model.delete_adapter("second")
    assert "second" not in model.peft_config
    assert not any("second" in name for name, _ in model.named_parameters())
    assert torch.equal(logits(model.base_model), first)
    with pytest.raises(ValueError, match="Adapter second does not exist"):
        model.delete_adapter("second")
    model.add_adapter("second", config())  # the name is free again, and so are its groups
    model.set_adapter("second")
    assert torch.equal(logits(model), logits(tiny_llama()))
    model.set_adapter("default")
    model.delete_adapter("default")
    model.delete_adapter("second")
    assert torch.equal(logits(model.base_model), logits(tiny_llama()))


def test_deleting_an_inactive_adapter_changes_nothing() -> None:
    model = adapted()
    first = logits(model)
    model.add_adapter("second", config())
    model.delete_adapter("second")
    assert model.active_adapters == ["default"]
    assert torch.equal(logits(model), first)


@every_variant
def test_disable_adapter(variant: str) -> None:
    model = adapted(variant)
    before = logits(model)
    with model.disable_adapter():
        assert torch.equal(logits(model), logits(tiny_llama()))
    assert torch.equal(logits(model), before)


def test_disabled_after_merging_is_plain() -> None:
    model = adapted()
    model.merge_adapter()
    with model.disable_adapter():
        assert torch.equal(logits(model), logits(tiny_llama()))


@every_variant
def test_merges_exactly_and_back(variant: str) -> None:
    model = adapted(variant, torch.float64)
    before = logits(model)
    plain = {n: p.detach().clone() for n, p in model.named_parameters()}
    model.merge_adapter()
    torch.testing.assert_close(logits(model), before, rtol=0, atol=1e-10)
    model.unmerge_adapter()
    assert all(torch.equal(p, plain[n]) for n, p in model.named_parameters())
    assert torch.equal(logits(model), before)
    merged = model.merge_and_unload(safe_merge=True)
    torch.testing.assert_close(logits(merged), before, rtol=0, atol=1e-10)
    assert not list(layers(merged))
    assert merged.state_dict().keys() == tiny_llama().state_dict().keys()


def test_merging_twice_changes_nothing() -> None:
    model = adapted()
    model.merge_adapter()
    once = logits(model)
    with pytest.warns(UserWarning, match="All adapters are already merged"):
        model.merge_adapter()
    assert torch.equal(logits(model), once)


def test_unmerging_what_is_not_merged_warns() -> None:
    with pytest.warns(UserWarning, match="Already unmerged"):
        next(layers(adapted())).unmerge()


def test_adapters_merge_on_top_of_each_other_from_the_plain_weight() -> None:
    model = adapted(dtype=torch.float64)
    model.add_adapter("second", config())
    model.base_model.set_adapter("second")
    move(model, "second", seed=7)
    model.base_model.set_adapter(["default", "second"])
    model.eval()
    both = logits(model)
    merged = copy.deepcopy(model).merge_and_unload()
    torch.testing.assert_close(logits(merged), both, rtol=0, atol=1e-10)
    model.merge_adapter(["default"])
    with pytest.warns(UserWarning, match="additionally merging second"):
        model.merge_adapter(["second"])
    torch.testing.assert_close(logits(model), both, rtol=0, atol=1e-10)


def test_unload_gives_the_plain_model() -> None:
    plain = adapted().unload()
    assert torch.equal(logits(plain), logits(tiny_llama()))


def test_safe_merge_refuses_broken_factors_and_keeps_the_weights() -> None:
    model = adapted()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "wegeft_" in name:
                parameter[0] = torch.nan
    with pytest.raises(
        ValueError, match=r"NaNs detected in the merged weights. The adapter default seems to be broken"
    ):
        model.merge_and_unload(safe_merge=True)
    with model.disable_adapter():
        assert torch.equal(logits(model), logits(tiny_llama()))


def test_a_refused_merge_keeps_the_adapters_merged_before() -> None:
    model = adapted()
    model.add_adapter("second", config())
    move(model, "second")
    model.merge_adapter(["default"])
    before = logits(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "wegeft_update.second." in name:
                parameter.fill_(torch.nan)
    with (
        pytest.warns(UserWarning, match="additionally merging second"),
        pytest.raises(ValueError, match="The adapter second seems to be broken"),
    ):
        model.merge_adapter(["second"], safe_merge=True)
    assert torch.equal(logits(model), before)
    model.unmerge_adapter()
    with model.disable_adapter():
        assert torch.equal(logits(model), logits(tiny_llama()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype) -> None:
    model = adapted(dtype=dtype)
    assert {p.dtype for n, p in model.named_parameters() if "wegeft_" in n} == {torch.float32}
    assert model(token_ids()).logits.dtype == dtype
    model.generate(token_ids(), attention_mask=torch.ones(3, 9), max_new_tokens=2)
    kept = peft.get_peft_model(tiny_llama(dtype=dtype), config(), autocast_adapter_dtype=False)
    kept.add_adapter("added", config(), autocast_adapter_dtype=False)
    assert {p.dtype for n, p in kept.named_parameters() if "wegeft_" in n} == {dtype}
    kept.merge_and_unload()


def test_generates_with_positional_and_named_arguments() -> None:
    model = adapted()
    ids, mask = token_ids(), torch.ones(3, 9)
    one = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=3, do_sample=False)
    assert torch.equal(one, model.generate(ids, attention_mask=mask, max_new_tokens=3, do_sample=False))


@pytest.mark.parametrize(
    ("targets", "changes", "count"),
    [
        (TARGETS, {"layers_to_transform": [0]}, 5),
        (TARGETS, {"exclude_modules": ["k_proj"]}, 8),
        (r".*\.[qv]_proj", {}, 4),
        ("all-linear", {}, 14),
        (None, {}, 4),
    ],
    ids=["layers", "exclude", "regex", "all_linear", "default"],
)
def test_targets(targets: Any, changes: dict[str, Any], count: int) -> None:
    model = peft.get_peft_model(tiny_llama(), config(target_modules=targets, **changes))
    assert len(list(layers(model))) == count


@pytest.mark.parametrize(("sharing", "owners"), [("per_type", 5), ("per_layer", 10), ("equal_width", 2)])
def test_one_owner_per_group(sharing: str, owners: int) -> None:
    model = adapted(sharing=sharing)
    assert sum(bool(len(layer.wegeft_update)) for layer in layers(model)) == owners


def test_all_linear_shares_by_type_and_width(tmp_path: Path) -> None:
    model = adapted(target_modules="all-linear")
    assert [len(layer.wegeft_update) for layer in layers(model)] == [1] * 7 + [0] * 7
    model.save_pretrained(tmp_path)
    loaded = peft.PeftModel.from_pretrained(tiny_llama(), str(tmp_path)).eval()
    assert torch.equal(logits(loaded), logits(model))


@pytest.mark.parametrize("depth", [2, 6])  # PEFT replaces twenty names and more by what they end with
def test_a_type_with_several_widths_has_a_pair_for_each(depth: int) -> None:
    model = peft.get_peft_model(tiny_gpt2(depth), config(target_modules="all-linear"))
    owners = {name.split(".wegeft_update")[0] for name, p in model.named_parameters() if p.requires_grad}
    first = "base_model.model.transformer.h.0"
    assert owners == {f"{first}.{name}" for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")}


@pytest.mark.parametrize("depth", [3, 7])
def test_names_of_single_layers_count_as_their_type(depth: int) -> None:
    types = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    names = [f"transformer.h.{position}.{name}" for position in range(depth - 1) for name in types]
    model = peft.get_peft_model(tiny_gpt2(depth), config(target_modules=names))
    assert [len(layer.wegeft_update) for layer in layers(model)] == [1] * 4 + [0] * 4 * (depth - 2)


def test_all_linear_adapts_layers_that_have_an_adapter() -> None:
    model = adapted(target_modules=["q_proj"])
    model.add_adapter("second", config(target_modules="all-linear"))
    assert [layer.update_of("second") is None for layer in layers(model)] == [False] * 14
    model.add_adapter("third", config(target_modules="all-linear"))
    assert [layer.update_of("third") is None for layer in layers(model)] == [False] * 14


def test_modules_to_save_and_biases(tmp_path: Path) -> None:
    model = adapted(modules_to_save=["lm_head"])
    loss(model).backward()
    assert model.get_parameter("base_model.model.lm_head.modules_to_save.default.weight").grad is not None
    with torch.no_grad():
        model.get_parameter("base_model.model.lm_head.modules_to_save.default.weight").mul_(2)
    model.save_pretrained(tmp_path)
    loaded = peft.PeftModel.from_pretrained(tiny_llama(), str(tmp_path)).eval()
    assert torch.equal(logits(loaded), logits(model))


@pytest.mark.parametrize(("bias", "count"), [("none", 0), ("wegeft_only", 4), ("all", 13)])
def test_backbone_biases(bias: str, count: int) -> None:
    model = peft.get_peft_model(tiny_gpt2(), config(target_modules=["c_attn", "mlp.c_fc"], bias=bias))
    assert sum(p.requires_grad for n, p in model.named_parameters() if n.endswith(".bias")) == count


def tiny_gpt2(depth: int = 2) -> nn.Module:
    torch.manual_seed(0)
    gpt2 = GPT2Config(vocab_size=61, n_positions=16, n_embd=24, n_layer=depth, n_head=2, initializer_range=0.2)
    return GPT2LMHeadModel(gpt2)


def test_conv1d_merges() -> None:
    model = peft.get_peft_model(tiny_gpt2(), config(target_modules=["c_attn", "mlp.c_fc"])).eval()
    move(model)
    before = logits(model)
    torch.testing.assert_close(logits(model.merge_and_unload()), before, rtol=0, atol=1e-5)


def test_delta_weight_is_what_merging_adds() -> None:
    model = adapted(dtype=torch.float64)
    layer = list(layers(model))[-1]  # one that borrows its factors
    delta, plain = layer.get_delta_weight("default"), layer.weight.clone()
    layer.merge()
    torch.testing.assert_close(layer.weight, plain + delta, rtol=0, atol=1e-12)
    folded = layer.weight.clone()
    assert torch.equal(layer.get_delta_weight("default"), delta)
    assert torch.equal(layer.weight, folded)


def test_converts_to_lora_by_pefts_own_function() -> None:
    model = adapted()
    lora_config, state = peft.convert_to_lora(model, rank=4)
    assert lora_config.peft_type == peft.PeftType.LORA
    lora = peft.get_peft_model(tiny_llama(), lora_config).eval()
    peft.set_peft_model_state_dict(lora, state)
    torch.testing.assert_close(logits(lora), logits(model), rtol=0, atol=1e-4)


def test_copies_and_pickles() -> None:
    model = adapted()
    before = logits(model)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(logits(twin), before)
        owned = {id(module) for module in twin.modules()}
        assert all(id(layer.update_of("default")) in owned for layer in layers(twin))


def test_as_an_adapter_of_transformers(tmp_path: Path) -> None:
    model = tiny_llama()
    model.add_adapter(config())
    move(model)
    model.eval()
    before = logits(model)
    assert not torch.equal(before, logits(tiny_llama()))
    model.save_pretrained(tmp_path)
    other = tiny_llama()
    other.load_adapter(str(tmp_path))
    assert torch.equal(logits(other.eval()), before)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"r": 0}, "r\n"),
        ({"zero": "neither"}, "zero\n"),
        ({"weight_dropout": 1.0}, "weight_dropout\n"),
        ({"form": "input", "block": "gelu", "zero": "psi"}, "method.form=input"),
        ({"target_modules": "q_proj", "layers_to_transform": [0]}, "need target_modules to be a list"),
        ({"target_modules": "q_proj", "layers_to_transform": 0}, "need target_modules to be a list"),
        ({"layers_pattern": "layers"}, "layers_pattern needs layers_to_transform"),
    ],
)
def test_refuses_bad_values(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**changes)


def test_refuses_layers_of_unequal_width_in_a_group() -> None:
    with pytest.raises(ValueError, match="needs layers of equal input width"):
        peft.get_peft_model(tiny_llama(), config(sharing="all"))


def test_refuses_a_rank_above_the_width() -> None:
    with pytest.raises(ValueError, match=r"r=33 is above the width of model.layers.0.self_attn.q_proj; choose at most"):
        peft.get_peft_model(tiny_llama(), config(r=33))


def test_refuses_to_mix_the_rows_of_layers_of_unequal_output_width() -> None:
    mixing = config(block="mlp_mixer", zero="psi", sharing="equal_width", target_modules=["q_proj", "k_proj"])
    with pytest.raises(ValueError, match=r"layers that share it need equal output widths, but .*k_proj has 16"):
        peft.get_peft_model(tiny_llama(), mixing)


def test_finds_the_layers_in_a_state_where_each_owns() -> None:
    state = adapted("per_layer").get_base_model().state_dict()
    state = {name: value for name, value in state.items() if "wegeft_" in name}
    model = peft.inject_adapter_in_model(config("per_layer"), tiny_llama(), state_dict=state)
    assert len(list(layers(model))) == 10
    with pytest.raises(ValueError, match="choose the layers by target_modules instead"):
        peft.inject_adapter_in_model(config(), tiny_llama(), state_dict=state)


def test_refuses_replicas() -> None:
    with pytest.raises(ValueError, match="use DistributedDataParallel"):
        next(layers(adapted()))._replicate_for_data_parallel()  # what nn.DataParallel calls, on GPUs only


def test_a_refused_adapter_leaves_the_model_as_it_was() -> None:
    plain = tiny_llama()
    names = list(plain.state_dict())
    with pytest.raises(ValueError, match="needs layers of equal input width"):
        peft.get_peft_model(plain, config(sharing="all"))
    assert list(plain.state_dict()) == names
    assert all(parameter.requires_grad for parameter in plain.parameters())
    model = peft.get_peft_model(plain, config(target_modules=["v_proj"]))
    assert all(p.requires_grad == ("v_proj.wegeft_" in name) for name, p in model.named_parameters())


@pytest.mark.filterwarnings("ignore:Already found a .peft_config. attribute")
def test_a_refused_adapter_leaves_the_others_as_they_were() -> None:
    model = adapted(target_modules=["q_proj"])
    before, state = logits(model), list(model.state_dict())
    for name in ("second", "default"):  # PEFT replaces an adapter of the same name
        with pytest.raises(ValueError, match="needs layers of equal input width"):
            peft.inject_adapter_in_model(config(sharing="all", inference_mode=True), model.get_base_model(), name)
    assert torch.equal(logits(model), before)
    assert list(model.state_dict()) == state
    assert all(p.requires_grad == ("wegeft_" in name) for name, p in model.named_parameters())


def test_refuses_other_layers_and_mixed_batches() -> None:
    with pytest.raises(TypeError, match="WeGeFT adapts linear layers, not Embedding"):
        peft.get_peft_model(tiny_llama(), config(target_modules=["embed_tokens"]))
    model = adapted()
    for refusing in (model, model.generate):
        with pytest.raises(ValueError, match="does not mix adapters"):
            refusing(token_ids(), adapter_names=["default", "default", "__base__"])
    with pytest.raises(ValueError, match="does not mix adapters"):
        next(layers(model))(torch.ones(1, 32), adapter_names=["default"])
