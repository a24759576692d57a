"""From lines of `squeue` to runs."""

import json
from pathlib import Path

import pytest

from wegeft.cluster.queue import QueuedRun, queued_runs


def answer(lines: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a `squeue` that prints ``lines`` first in PATH."""
    program = folder / "squeue"
    program.write_text("#!/bin/sh\ncat <<'END'\n" + "\n".join(lines) + "\nEND\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_jobs_are_known_by_their_name_or_their_place_in_an_array(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs.json"
    runs.write_text(json.dumps(["00000000000a", "00000000000b"]))
    lines = [
        f"12_1|PENDING|0:00|1-00:00:00|wegeft|JobArrayTaskLimit|{runs}",
        f"12_0|RUNNING|0:31|23:59:29|wegeft-00000000000a|None|{runs}",
        f"14|PENDING|0:00|2:00:00|wegeft|Priority|{runs}",
        "15|RUNNING|5:00|5:00|wegeft-00000000000c|None|(null)",
        "16|PENDING|0:00|5:00|wegeft|Resources|(null)",
        "17|RUNNING|0:10|5:00|somebody|None|a|b",
    ]
    answer(lines, tmp_path, monkeypatch)
    assert queued_runs() == [
        QueuedRun("00000000000b", "12_1", "PENDING", "0:00", "1-00:00:00", "JobArrayTaskLimit"),
        QueuedRun("00000000000a", "12_0", "RUNNING", "0:31", "23:59:29", "None"),
        QueuedRun("00000000000a", "14", "PENDING", "0:00", "2:00:00", "Priority"),
        QueuedRun("00000000000c", "15", "RUNNING", "5:00", "5:00", "None"),
    ]


def test_an_empty_queue_holds_no_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer([], tmp_path, monkeypatch)
    (tmp_path / "squeue").write_text("#!/bin/sh\n")
    assert queued_runs() == []
