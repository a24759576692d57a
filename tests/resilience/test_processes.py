"""Whole runs by two processes, started as ``torchrun`` starts them: the record of one process, also after a crash."""

import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.resilience.runs import Process, Server, outcome, wait_for
from wegeft.exits import FINISHED

WORLD = 2


def start(server: Server, folder: Path, *overrides: str) -> list[Process]:
    """Both processes of one run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [
        server.start(
            folder,
            *overrides,
            environment={
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(WORLD),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            },
        )
        for rank in range(WORLD)
    ]


def result(folder: Path) -> tuple[list[float], dict[str, Any], bytes]:
    """Losses, scores and samples of the one record in ``folder``."""
    record, _, samples = outcome(folder)
    return [loss for _, loss in record["training"]["loss_curve"]], record["evaluation"]["scores"], samples


def assert_as_one_process(folder: Path, undisturbed: Path) -> None:
    losses, *answers = result(folder)
    wanted, *wanted_answers = result(undisturbed)
    assert losses == pytest.approx(wanted, rel=1e-5)
    assert answers == wanted_answers
    said = (folder / "log.txt").read_text()
    assert said.count("record: ") == 1  # one process speaks


@pytest.mark.slow
def test_a_crashed_process_takes_the_run_down_and_it_goes_on(server: Server, undisturbed: Path, tmp_path: Path) -> None:
    first, second = start(server, tmp_path)
    wait_for(tmp_path, "runs/*/checkpoints/step-*2.json")
    second.kill()
    assert second.wait() == -signal.SIGKILL
    assert first.wait() not in (FINISHED, -signal.SIGKILL)
    assert not (tmp_path / "results").exists()
    assert [process.wait() for process in start(server, tmp_path)] == [FINISHED] * WORLD
    assert_as_one_process(tmp_path, undisturbed)


@pytest.mark.slow
def test_a_sharded_backbone_gives_the_same_record(server: Server, undisturbed: Path, tmp_path: Path) -> None:
    both = start(server, tmp_path, "runtime.distributed=fsdp")
    assert [process.wait() for process in both] == [FINISHED] * WORLD, (tmp_path / "log.txt").read_text()
    assert_as_one_process(tmp_path, undisturbed)
