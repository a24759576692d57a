"""The objective on real token ids: batches with and without padding give the same loss and gradient."""

import pytest
import torch

from tests.composing import run_config
from wegeft import models
from wegeft.errors import UserError
from wegeft.tasks.base import Example
from wegeft.tasks.encoding import IGNORE_INDEX, Encoded, EncodedSet, TextEncoder
from wegeft.tasks.protocol import ProtocolConfig
from wegeft.training.objective import Batching, CausalLMObjective

TEXTS = (
    "yes",
    "a much longer question, with 12 + 30 = 42 in it and more words than the others?",
    "who? where?",
    "1 2 3",
)


def encoded(*overrides: str) -> tuple[CausalLMObjective, EncodedSet, torch.nn.Module]:
    """Four examples of different lengths for the packaged backbone, in double precision."""
    config = run_config(*overrides)
    backbone = models.load(config.model, torch.device("cpu"))
    assert isinstance(config.protocol, ProtocolConfig)
    encoder = TextEncoder(backbone.processor, config.protocol)
    examples = [Example(f"x/train/{i}", "x", f"{text}\n", f"the answer is {i}", str(i)) for i, text in enumerate(TEXTS)]
    return CausalLMObjective(encoder), encoder.encode_examples(examples), backbone.model.double()


def loss_and_gradient(
    objective: CausalLMObjective, items: list[Encoded], model: torch.nn.Module, batching: Batching
) -> tuple[torch.Tensor, torch.Tensor]:
    loss = objective.loss_sum(model, objective.collate(items, batching))
    (gradient,) = torch.autograd.grad(loss, [model.get_parameter("model.layers.0.self_attn.q_proj.weight")])
    return loss, gradient


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("protocol.train_on_inputs=true",),
        ("protocol.pad_first=true",),
        ("protocol.pad_first=true", "protocol.train_on_inputs=true"),
        ("protocol.padding_side_train=left", "protocol.train_on_inputs=true"),
        ("protocol=v5", "protocol.train_on_inputs=true"),
    ],
)
def test_flat_batches_give_the_same_loss_and_gradient(overrides: tuple[str, ...]) -> None:
    objective, items, model = encoded(*overrides)
    loss, gradient = loss_and_gradient(objective, items[:], model, "padded")
    flat_loss, flat_gradient = loss_and_gradient(objective, items[:], model, "flat")
    torch.testing.assert_close(flat_loss, loss, rtol=1e-6, atol=0)
    torch.testing.assert_close(flat_gradient, gradient, rtol=1e-6, atol=1e-9)
    batchings: tuple[Batching, ...] = ("padded", "flat")
    for batching in batchings:
        labels_BL = objective.collate(items[:], batching)["labels"]
        assert int((labels_BL[:, 1:] != IGNORE_INDEX).sum()) == objective.units(items[:])


def test_flat_batches_hold_no_padding() -> None:
    objective, items, _ = encoded()
    flat = objective.collate(items[:], "flat")
    assert flat["input_ids"].shape == (1, objective.tokens(items[:]))
    assert int((flat["labels"] != -100).sum()) == objective.units(items[:])
    assert int((flat["position_ids"] == 0).sum()) == len(items)


def test_flat_batches_refuse_hidden_tokens() -> None:
    objective, items, _ = encoded("protocol.mask_pad_by_id=true")
    hidden = Encoded(items[0].input_ids, items[0].labels, [1, 0, *items[0].attention_mask[2:]])
    with pytest.raises(UserError, match=r"training\.batching=flat"):
        objective.collate([hidden], "flat")


def test_each_example_alone_adds_up_to_the_batch() -> None:
    objective, items, model = encoded()
    whole, _ = loss_and_gradient(objective, items[:], model, "padded")
    alone = sum(loss_and_gradient(objective, [item], model, "padded")[0] for item in items)
    torch.testing.assert_close(torch.as_tensor(alone), whole, rtol=1e-6, atol=0)
