"""How many runs share a machine."""

import pytest

from wegeft.cluster.packing import Room, room_on_gpus, room_on_processors, runs_at_once
from wegeft.cluster.runs import Run, composed
from wegeft.errors import UserError
from wegeft.planning.runs import Planner

GIB = float(2**30)


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return [composed([f"method={method}", "scale=paper", "seed=1"]) for method in ("wegeft", "full")] * 40


@pytest.fixture(scope="module")
def largest(runs: list[Run]) -> float:
    memory = Planner().planned(runs[1].config, runs[1].overrides).estimate.memory
    assert memory is not None
    return memory


def test_the_largest_run_decides(runs: list[Run], largest: float) -> None:
    assert runs_at_once(runs, 1, 1, Room(1, 4 * largest, 64)) == 3  # a tenth is spared
    assert runs_at_once(runs, 1, 1, Room(8, 4 * largest, 64)) == 24


def test_no_more_than_processors_or_runs(runs: list[Run]) -> None:
    assert runs_at_once(runs, 1, 1, Room(1, 1e6 * GIB, 16)) == 16
    assert runs_at_once(runs[:3], 1, 1, Room(1, 1e6 * GIB, 16)) == 3


def test_one_run_goes_on_where_none_seems_to_fit(runs: list[Run]) -> None:
    assert runs_at_once(runs, 1, 1, Room(1, GIB, 16)) == 1


def test_this_machine_has_room() -> None:
    room = room_on_processors(threads=1)
    assert room.memory > GIB / 4
    assert room.slots >= room_on_processors(threads=2).slots >= 1


def test_missing_gpus_are_named() -> None:
    with pytest.raises(UserError, match=r"gpus_per_node=1000: this machine has \d+"):
        room_on_gpus(1000)
