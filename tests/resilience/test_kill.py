"""A real run, killed at random moments and started again, ends with the bytes of one that nobody disturbed."""

import json
import random
import re
import signal
import time
from pathlib import Path

import pytest

from tests.resilience.runs import Server, outcome, seconds_of, wait_for
from wegeft.exits import BUSY, FINISHED, INTERRUPTED, STORAGE

KILLS = 20
CHANGES = 60
"""About as many changes to files as an undisturbed run makes."""


def run_until_killed(server: Server, folder: Path, moment: float, seconds: float, by_clock: bool) -> int:
    """Start a run and kill it at ``moment`` (0 to 1) of its time, or of its changes to files; returns its exit code."""
    if not by_clock:
        return server.start(folder, dies_at=1 + int(moment * CHANGES)).wait()
    process = server.start(folder)
    time.sleep(moment * seconds)
    process.kill()
    return process.wait()


@pytest.mark.slow
def test_a_run_killed_at_twenty_moments_ends_with_the_same_bytes(
    server: Server, undisturbed: Path, tmp_path: Path
) -> None:
    """Half of the moments are times, half are changes to files: between any two of them a kill may leave a gap."""
    draw, killed, finished, seconds = random.Random(7), 0, 0, seconds_of(undisturbed)
    while killed < KILLS:
        folder = tmp_path / f"run-{finished}"
        code = run_until_killed(server, folder, draw.random(), seconds, by_clock=killed % 2 == 0)
        assert code in (FINISHED, -signal.SIGKILL), (folder / "log.txt").read_text()
        killed += code != FINISHED
        if code == FINISHED:
            assert outcome(folder) == outcome(undisturbed)
            finished += 1
    last = tmp_path / f"run-{finished}"
    assert server.start(last).wait() == FINISHED
    assert outcome(last) == outcome(undisturbed)
    assert not list(last.rglob("*.tmp"))
    assert not list(last.rglob("step-*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sign", "number", "words"),
    [
        ("runs/*/lock", signal.SIGUSR2, "stopped (by SIGUSR2|after 0 of 6 steps)"),
        ("runs/*/checkpoints/step-*2.json", signal.SIGTERM, r"stopped after \d of 6 steps"),
    ],
    ids=["starting", "training"],
)
def test_a_request_to_stop_is_followed_and_the_run_goes_on(
    sign: str, number: int, words: str, server: Server, undisturbed: Path, tmp_path: Path
) -> None:
    process = server.start(tmp_path)
    wait_for(tmp_path, sign)
    process.kill(number)
    assert process.wait() == INTERRUPTED
    said = (tmp_path / "log.txt").read_text()
    assert re.search(rf"{words}; the same command goes on from there", said), said
    assert server.start(tmp_path).wait() == FINISHED
    assert outcome(tmp_path) == outcome(undisturbed)
    (record,) = (json.loads(path.read_text()) for path in (tmp_path / "results/records").glob("*.json"))
    began = [part["from_step"] for part in record["training"].get("parts", [])]
    assert began[:1] == ([] if "lock" in sign else [0])
    assert "parts" not in json.loads(next((undisturbed / "results/records").glob("*.json")).read_text())["training"]


@pytest.mark.slow
def test_of_two_processes_with_one_run_one_works_and_the_other_says_so(
    server: Server, undisturbed: Path, tmp_path: Path
) -> None:
    both = [server.start(tmp_path), server.start(tmp_path)]
    assert sorted(process.wait() for process in both) == [FINISHED, BUSY]
    said = re.findall("error: .*", (tmp_path / "log.txt").read_text())
    assert len(said) == 1
    assert re.search(r"run \w+ is being worked on by process \d+ on .*; this process leaves it alone\.", said[0])
    assert outcome(tmp_path) == outcome(undisturbed)


@pytest.mark.slow
def test_a_full_disk_ends_the_run_in_one_sentence_and_leaves_it_to_go_on(
    server: Server, undisturbed: Path, tmp_path: Path
) -> None:
    """The limit lies between the size of the config and that of a checkpoint."""
    assert server.start(tmp_path, file_bytes=50_000).wait() == STORAGE
    said = re.findall("error: .*", (tmp_path / "log.txt").read_text())
    assert len(said) == 1
    assert re.search(r"step-00000001\.safetensors could not be written \(File too large\); .* is whole\.", said[0])
    assert not list(tmp_path.rglob("step-*"))
    assert server.start(tmp_path).wait() == FINISHED
    assert outcome(tmp_path) == outcome(undisturbed)
