"""Stopping and going on: the same bytes as never having stopped, whatever happened to the newest checkpoint."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.training.test_loop import Everything, RowObjective, recipe, rows, trained
from wegeft.errors import UserError
from wegeft.training.checkpoint import drop
from wegeft.training.interruption import Interrupted
from wegeft.training.loop import train
from wegeft.training.result import TrainingResult

EVERY = "training.checkpoint_every=1"


class Stopped(Everything):
    """Asks its own process to stop after so many steps."""

    def __init__(self, after: int, number: int) -> None:
        super().__init__()
        self._after, self._number = after, number

    def after_step(self) -> None:
        super().after_step()
        if len(self.steps_with_gradients) == self._after:
            os.kill(os.getpid(), self._number)


def interrupt(folder: Path, after: int, number: int = signal.SIGTERM, every: str = EVERY) -> None:
    with pytest.raises(Interrupted, match=f"stopped after {after} of 6 steps"):
        train(Stopped(after, number), rows(21), RowObjective(), recipe(every), seed=3, checkpoints=folder)


def assert_as_undisturbed(folder: Path) -> None:
    reference, reference_result = trained(recipe())
    state, result = trained(recipe(EVERY), checkpoints=folder)
    assert all(torch.equal(state[name], reference[name]) for name in reference)
    assert without_clock(result) == without_clock(reference_result)


def without_clock(result: TrainingResult) -> tuple[object, ...]:
    return result.steps, result.examples, result.tokens, result.units, result.loss_curve


@pytest.mark.parametrize("after", [1, 3, 5])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR2])
def test_going_on_ends_with_the_same_bytes(after: int, number: int, tmp_path: Path) -> None:
    interrupt(tmp_path, after, number, every="training.checkpoint_every=100")
    assert_as_undisturbed(tmp_path)


def test_every_part_says_where_it_began_and_what_surrounded_it(tmp_path: Path) -> None:
    def part(method: Everything, made_by: str) -> TrainingResult:
        surroundings = {"of": made_by}
        return train(method, rows(21), RowObjective(), recipe(), 3, checkpoints=tmp_path, provenance=surroundings)

    for after, made_by in ((2, "first"), (1, "second")):
        with pytest.raises(Interrupted):
            part(Stopped(after, signal.SIGTERM), made_by)
    last = part(Everything(), "third")
    assert [(part["from_step"], part["provenance"]["of"]) for part in last.parts] == [
        (0, "first"),
        (2, "second"),
        (3, "third"),
    ]


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [cut_short, flip_a_bit, Path.unlink], ids=["cut short", "bit flipped", "missing"])
@pytest.mark.parametrize("part", [".safetensors", ".json"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    damage: Callable[[Path], None], part: str, tmp_path: Path
) -> None:
    interrupt(tmp_path, after=4)
    newest = sorted(tmp_path.glob(f"step-*{part}"))[-1]
    damage(newest)
    assert_as_undisturbed(tmp_path)


def test_the_last_two_are_kept_and_all_are_dropped_in_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    interrupt(folder, after=5)
    assert [path.name for path in sorted(folder.glob("*.json"))] == ["step-00000004.json", "step-00000005.json"]
    assert len(list(folder.iterdir())) == 4
    drop(folder)
    assert not folder.exists()


def test_a_folder_that_cannot_be_written_ends_in_one_sentence(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(UserError, match="could not be written"):
        trained(recipe(EVERY), checkpoints=blocked / "checkpoints")


def test_a_request_to_stop_after_the_last_step_is_too_late(tmp_path: Path) -> None:
    method = Stopped(6, signal.SIGTERM)
    result = train(method, rows(21), RowObjective(), recipe(), seed=3, checkpoints=tmp_path)
    assert result.steps == 6


def test_dropout_is_the_same_after_going_on(tmp_path: Path) -> None:
    """Randomness belongs to the step: no generator state is needed."""
    drawn: dict[int, list[Tensor]] = {}

    class Drawing(Stopped):
        def after_step(self) -> None:
            drawn.setdefault(self._after, []).append(torch.rand(3))
            super().after_step()

    train(Drawing(0, signal.SIGTERM), rows(21), RowObjective(), recipe(), seed=3)
    with pytest.raises(Interrupted):
        train(Drawing(2, signal.SIGTERM), rows(21), RowObjective(), recipe(), seed=3, checkpoints=tmp_path)
    train(Drawing(9, signal.SIGTERM), rows(21), RowObjective(), recipe(), seed=3, checkpoints=tmp_path)
    assert torch.equal(torch.stack(drawn[2] + drawn[9]), torch.stack(drawn[0]))
