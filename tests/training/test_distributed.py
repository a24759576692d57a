"""Two processes are one: the same losses, parameters, answers and stops, however uneven their parts are."""

import json
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.methods.tiny import attach, method_from_yaml, tiny_llama
from tests.training.test_loop import Everything, RowObjective, recipe, rows
from tests.two_processes import WORLD, run_both
from wegeft.errors import UserError
from wegeft.evaluation.journal import PARTIAL, Answer, Journal
from wegeft.evaluation.rounds import answer_all
from wegeft.training.distributed import World, current, is_sharded, shard
from wegeft.training.loop import Trainable, train

CASES = {
    "uneven last batch": (),  # 21 examples in batches of 8: the last one of an epoch has 5
    "micro-batches": ("training.micro_batch_size=3",),  # two on one process, one and a shorter one on the other
    "nothing to do": ("training.batch_size=1",),  # the second process has no example at all
    "recomputed activations": ("training.gradient_checkpointing=true",),
}
KINDS = ("ddp", "fsdp")


def adapted(name: str = "wegeft") -> Trainable:
    """Shared factors in a tiny model, without dropout, which would draw other numbers in another process."""
    overrides = {"wegeft": ["weight_dropout=0"], "lora": ["dropout=0"]}
    return attach(method_from_yaml(name, *overrides[name]), tiny_llama())


class Penalised(Everything):
    """Adds a term of its own to the loss, which must count once and not once per process."""

    def extra_loss(self) -> Tensor | None:
        penalty: Tensor = 0.1 * self.backbone.lm_head.weight.square().sum()
        return penalty


def losses(method: Trainable, *overrides: str) -> list[float]:
    result = train(method, rows(21), RowObjective(), recipe(*overrides), seed=3)
    assert (result.steps, result.examples) == (6, 6 if "training.batch_size=1" in overrides else 42)
    return [loss for _, loss, _ in result.loss_curve]


def state(method: Trainable) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in method.trainable().items()}


def answers(folder: Path) -> list[list[Any]]:
    """The answers to seven questions in batches of two, and how many were asked here; each answer names its batch."""
    asked: list[int] = []

    def answer(batch: Sequence[int]) -> list[Answer]:
        asked.extend(batch)
        return [Answer(f"{position} of {list(batch)}", position) for position in batch]

    batches = [[6, 5], [4, 3], [2, 1], [0]]
    with Journal(folder, "fingerprint") as journal:
        found = answer_all(list("abcdefg"), batches, answer, journal, Everything().backbone, lambda *_: None)
    return [[given.text, given.tokens] for given in found] + [[str(sorted(asked)), len(asked)]]


def worker(rank: int, folder: str) -> None:
    """One of the processes, through all cases."""
    torch.set_num_threads(1)
    place = Path(folder)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORLD)
    world = current()
    found: dict[str, Any] = {}
    found["penalised"] = losses(penalised := Penalised())
    save_file(state(penalised), place / f"penalised-{rank}.safetensors")
    for kind in KINDS:
        for case, overrides in CASES.items():
            method = adapted()
            if kind == "fsdp":
                shard(method.backbone, torch.device("cpu"))
                assert is_sharded(method.backbone)
            found[f"{kind} {case}"] = losses(method, *overrides)
            save_file(state(method), place / f"{kind} {case}-{rank}.safetensors")
    with pytest.raises(UserError, match="most are trained; choose ddp"):
        shard(Everything().backbone, torch.device("cpu"))
    found["answers"] = answers(place)
    found["collected"] = world.collect({"rank": rank, "text": "é" * rank})
    found["total"] = world.total([0.1, rank])
    (place / f"found-{rank}.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    return once("processes", lambda place: run_both(worker, place))


def found(folder: Path, rank: int) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / f"found-{rank}.json").read_text())
    return content


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_shared_factors_are_those_of_one_process(kind: str, case: str, folder: Path) -> None:
    method = adapted()
    wanted = losses(method, *CASES[case])
    for rank in range(WORLD):
        assert found(folder, rank)[f"{kind} {case}"] == pytest.approx(wanted, rel=1e-5)
        trained = load_file(folder / f"{kind} {case}-{rank}.safetensors")
        for name, value in state(method).items():
            torch.testing.assert_close(trained[name], value, rtol=1e-4, atol=2e-5)


@pytest.mark.slow
def test_both_processes_hold_the_same_bits(folder: Path) -> None:
    for first in folder.glob("*-0.safetensors"):
        second = first.with_name(first.name.replace("-0.", "-1."))
        assert first.read_bytes() == second.read_bytes()


@pytest.mark.slow
def test_a_term_of_the_method_counts_once(folder: Path) -> None:
    method = Penalised()
    assert found(folder, 1)["penalised"] == pytest.approx(losses(method), rel=1e-5)
    trained = load_file(folder / "penalised-1.safetensors")
    torch.testing.assert_close(trained["lm_head.weight"], method.backbone.lm_head.weight.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_the_batches_of_an_evaluation_are_shared_and_its_answers_merged_in_order(folder: Path, tmp_path: Path) -> None:
    *alone, _ = answers(tmp_path)
    first, second = (found(folder, rank)["answers"] for rank in range(WORLD))
    assert first[:-1] == second[:-1] == alone
    assert (first[-1], second[-1]) == (["[1, 2, 5, 6]", 4], ["[0, 3, 4]", 3])
    assert (folder / PARTIAL).read_text().count("\n") == 1 + 7


@pytest.mark.slow
def test_values_are_exchanged_whole(folder: Path) -> None:
    for rank in range(WORLD):
        assert found(folder, rank)["collected"] == [{"rank": 0, "text": ""}, {"rank": 1, "text": "é"}]
        assert found(folder, rank)["total"] == [0.2, 1]


def test_parts_are_disjoint_whole_and_as_equal_as_can_be() -> None:
    parts = [World(rank, 3).part(range(8)) for rank in range(3)]
    assert sorted(chain(*parts)) == list(range(8))
    assert [len(part) for part in parts] == [3, 3, 2]
