"""A step that does not fit is taken again in smaller parts, with the same result."""

import pytest
import torch
from torch import Tensor, nn

from tests.training.test_loop import Everything, RowObjective, recipe, rows, trained
from wegeft.errors import UserError
from wegeft.training.loop import train
from wegeft.training.micro_batch import MicroBatch
from wegeft.training.objective import Batch


class SmallDevice(RowObjective):
    """Runs out of memory after the forward pass of more than so many examples."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.sizes: list[int] = []

    def loss_sum(self, model: nn.Module, batch: Batch) -> Tensor:
        loss = super().loss_sum(model, batch)
        self.sizes.append(len(batch["input_ids"]))
        if self.sizes[-1] > self.room:
            loss.backward()  # gradients of a part that must not be counted twice
            raise torch.OutOfMemoryError("no room")
        return loss


def test_smaller_micro_batches_give_the_same_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    whole, reference = trained(recipe())
    method, objective = Everything(), SmallDevice(room=3)
    result = train(method, rows(21), objective, recipe(), seed=3)
    assert objective.sizes[:3] == [8, 4, 2]  # halved until it fits
    assert max(objective.sizes[3:]) == 2  # and never tried again
    for (_, ours, _), (_, theirs, _) in zip(result.loss_curve, reference.loss_curve, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-6)
    for name, value in method.backbone.state_dict().items():
        torch.testing.assert_close(value, whole[name], rtol=1e-6, atol=1e-6)
    assert "training.micro_batch_size=2" in capsys.readouterr().err


def test_one_example_that_does_not_fit_ends_in_one_sentence() -> None:
    with pytest.raises(UserError, match="gradient_checkpointing=true"):
        train(Everything(), rows(21), SmallDevice(room=0), recipe(), seed=3)


def test_a_fixed_size_is_not_changed() -> None:
    def attempt(size: int | None) -> None:
        raise torch.OutOfMemoryError(f"no room for {size}")

    with pytest.raises(UserError, match=r"4 examples: set a smaller training\.micro_batch_size"):
        MicroBatch(4, is_fixed=True).within_memory(8, attempt, undo=lambda: None)
