"""The loop: label-only logits, global normalisation, determinism, and a stop before anything non-finite is used."""

import copy
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.modeling_outputs import BaseModelOutputWithPast

from tests.composing import run_config
from wegeft.config import TrainingConfig
from wegeft.tasks.encoding import IGNORE_INDEX
from wegeft.training import objective
from wegeft.training.head import Head
from wegeft.training.loop import NonFiniteError, parameter_groups, train
from wegeft.training.objective import Batch, Batching, full_logits_loss_sum, label_only_loss_sum
from wegeft.training.result import TrainingResult

VOCABULARY = 61
Row = tuple[list[int], int]
"""Token ids and how many of them, from the start, carry no label."""
State = dict[str, Tensor]


def tiny_llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config).double()


def rows(count: int) -> list[Row]:
    """Sequences of very different lengths and label counts, where a mean of means would be wrong."""
    generator = torch.Generator().manual_seed(1)
    made = []
    for number in range(count):
        length = 4 + (number * 7) % 19
        ids = torch.randint(3, VOCABULARY, (length,), generator=generator).tolist()
        made.append((ids, 1 + number % (length - 2)))
    return made


class RowObjective:
    """The causal language model objective on rows that are token ids already."""

    def draw(self, items: Sequence[Row]) -> Sequence[Row]:
        return items

    def expect(self, items: Sequence[Row]) -> None:
        pass

    def collate(self, items: Sequence[Row], batching: Batching) -> Batch:
        assert batching == "padded"
        width = max(len(ids) for ids, _ in items)
        input_ids = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in items])
        mask = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in items])
        labels = input_ids.masked_fill(mask == 0, IGNORE_INDEX)
        for row, (_, unlabelled) in enumerate(items):
            labels[row, :unlabelled] = IGNORE_INDEX
        return {"input_ids": input_ids, "attention_mask": mask, "labels": labels}

    def units(self, items: Sequence[Row]) -> int:
        return sum(len(ids) - unlabelled for ids, unlabelled in items)

    def tokens(self, items: Sequence[Row]) -> int:
        return sum(len(ids) for ids, _ in items)

    def loss_sum(self, model: nn.Module, batch: Batch) -> Tensor:
        inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
        return label_only_loss_sum(model, inputs, batch["labels"])


def recipe(*overrides: str) -> TrainingConfig:
    return run_config(
        "training.max_steps=6", "training.batch_size=8", "training.learning_rate=1e-2", *overrides
    ).training


class Everything:
    """A method that trains the whole model."""

    def __init__(self) -> None:
        self.backbone = tiny_llama()
        self.steps_with_gradients: list[bool] = []
        self.passes: list[int] = []

    def trainable(self) -> dict[str, nn.Parameter]:
        return dict(self.backbone.named_parameters())

    def extra_loss(self) -> Tensor | None:
        return None

    def several_passes(self, passes: int) -> AbstractContextManager[None]:
        self.passes.append(passes)
        return nullcontext()

    def after_step(self) -> None:
        self.steps_with_gradients.append(self.backbone.lm_head.weight.grad is not None)


def trained(config: TrainingConfig, seed: int = 3, checkpoints: Path | None = None) -> tuple[State, TrainingResult]:
    """The state of a tiny model after training, and what the training did."""
    method = Everything()
    result = train(method, rows(21), RowObjective(), config, seed, checkpoints=checkpoints)
    return method.backbone.state_dict(), result


def test_label_only_logits_give_the_full_loss_and_gradient() -> None:
    batch = RowObjective().collate(rows(8), "padded")
    inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
    gradients = []
    losses = []
    for loss_sum in (label_only_loss_sum, full_logits_loss_sum):
        model = tiny_llama()
        loss = loss_sum(model, inputs, batch["labels"])
        loss.backward()
        losses.append(loss.item())
        gradients.append([parameter.grad for parameter in model.parameters()])
    # The loss is taken in fp32 in both, so they agree to its rounding.
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    for ours, reference in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-5, atol=1e-7)


def test_chunked_logits_give_the_same_loss_and_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    head = Head(tiny_llama(), BaseModelOutputWithPast())
    hidden_ND = torch.randn(50, 32, dtype=torch.float64, requires_grad=True)
    targets_N = torch.randint(0, VOCABULARY, (50,))
    whole = objective.chunked_loss_sum(head, hidden_ND, targets_N)
    (whole_gradient,) = torch.autograd.grad(whole, hidden_ND)
    monkeypatch.setattr(objective, "CHUNK_ELEMENTS", 7 * VOCABULARY)
    cut = objective.chunked_loss_sum(head, hidden_ND, targets_N)
    (cut_gradient,) = torch.autograd.grad(cut, hidden_ND)
    torch.testing.assert_close(cut, whole, rtol=1e-6, atol=0)
    torch.testing.assert_close(cut_gradient, whole_gradient)


@pytest.mark.parametrize("micro", [2, 3, 4])
def test_accumulation_is_the_same_step(micro: int) -> None:
    whole, reference = trained(recipe())
    cut, result = trained(recipe(f"training.micro_batch_size={micro}"))
    for (_, ours, _), (_, theirs, _) in zip(result.loss_curve, reference.loss_curve, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-6)
    for name, value in whole.items():
        torch.testing.assert_close(cut[name], value, rtol=1e-6, atol=1e-6)


def test_two_identical_runs_are_identical_and_another_seed_is_not() -> None:
    first, _ = trained(recipe())
    again, _ = trained(recipe())
    other, _ = trained(recipe(), seed=4)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize(
    ("overrides", "passes"),
    [
        ([], [1] * 6),
        (["training.gradient_checkpointing=true"], [2] * 6),
        (["training.micro_batch_size=3"], [3, 3, 2] * 2),
        (["training.micro_batch_size=3", "training.gradient_checkpointing=true"], [6, 6, 4] * 2),
    ],
)
def test_methods_are_told_how_many_passes_a_step_has(overrides: list[str], passes: list[int]) -> None:
    method = Everything()
    train(method, rows(21), RowObjective(), recipe(*overrides), seed=3)
    assert method.passes == passes


def test_gradient_checkpointing_changes_nothing() -> None:
    plain, _ = trained(recipe())
    recomputed, _ = trained(recipe("training.gradient_checkpointing=true"))
    assert all(torch.equal(plain[name], recomputed[name]) for name in plain)


def test_the_step_is_adamw_on_the_mean_loss_per_label_token() -> None:
    """One step by hand: torch's AdamW, the Trainer's clipping, the loss over the labels of the whole batch."""
    config = recipe("training.max_steps=1", "training.warmup_ratio=0", "training.batch_size=21")
    ours, result = trained(config)
    model = tiny_llama()
    batch = RowObjective().collate(rows(21), "padded")
    inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
    loss = full_logits_loss_sum(model, inputs, batch["labels"]) / RowObjective().units(rows(21))
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0).step()
    assert result.loss_curve[0][1] == pytest.approx(loss.item(), rel=1e-6)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-6)


def test_a_non_finite_loss_stops_before_the_step() -> None:
    method = Everything()
    with torch.no_grad():
        method.backbone.lm_head.weight[5, 0] = math.nan
    before = copy.deepcopy(method.backbone.state_dict())
    with pytest.raises(NonFiniteError, match="step 0: loss nan") as stopped:
        train(method, rows(21), RowObjective(), recipe("training.warmup_ratio=0"), seed=3)
    assert stopped.value.result.steps == 0
    for name, value in method.backbone.state_dict().items():
        torch.testing.assert_close(value, before[name], equal_nan=True, rtol=0, atol=0)


@pytest.mark.parametrize("overrides", [[], ["training.micro_batch_size=3"]])
def test_a_step_without_labels_has_no_loss_and_no_gradient(overrides: list[str]) -> None:
    """Rows whose answer ``protocol.truncation=right`` cut off may fill a batch."""
    cut = [(ids, len(ids)) for ids, _ in rows(8)]
    method = Everything()
    before = copy.deepcopy(method.backbone.state_dict())
    result = train(method, cut, RowObjective(), recipe("training.max_steps=1", *overrides), seed=3)
    assert result.loss_curve == [(0, 0.0, 0.0)]
    assert result.units == 0
    assert all(torch.equal(value, before[name]) for name, value in method.backbone.state_dict().items())


def test_weight_decay_spares_vectors() -> None:
    parameters = {"matrix": nn.Parameter(torch.zeros(2, 3)), "bias": nn.Parameter(torch.zeros(3))}
    groups = parameter_groups(parameters, 0.1)
    assert [(group["params"][0].ndim, group["weight_decay"]) for group in groups] == [(2, 0.1), (1, 0.0)]


def test_a_method_sees_every_step_with_its_gradients() -> None:
    method = Everything()
    train(method, rows(21), RowObjective(), recipe(), seed=3)
    assert method.steps_with_gradients == [True] * 6


def test_a_term_of_the_method_enters_the_gradient_and_not_the_reported_loss() -> None:
    class Penalised(Everything):
        def extra_loss(self) -> Tensor | None:
            penalty: Tensor = 1e3 * self.backbone.lm_head.weight.square().sum()
            return penalty

    plain, reference = trained(recipe())
    method = Penalised()
    result = train(method, rows(21), RowObjective(), recipe(), seed=3)
    assert result.loss_curve[0][1] == reference.loss_curve[0][1]
    assert method.backbone.lm_head.weight.norm() < plain["lm_head.weight"].norm()
