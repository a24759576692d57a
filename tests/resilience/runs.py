"""Runs in processes of their own, which can be killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wegeft.records.store import read_record

TINY = (
    "training.max_steps=6",
    "training.batch_size=5",
    "training.checkpoint_every=1",
    "task.sources.mini.train_rows=3",
    "task.sources.mini.test_rows=2",
    "task.listed_answers=false",
    "evaluation.batch_size=3",
    "method.weight_dropout=0",
)
"""A run of 6 steps over 24 examples, the last batch of the epoch smaller, and 16 questions in 6 batches."""


@dataclass(frozen=True)
class Process:
    """A run that has been started."""

    pid: int
    server: "Server"

    def wait(self) -> int:
        """Its exit code; negative for the signal that ended it."""
        code: int = self.server.ask({"wait": self.pid})["code"]
        return code

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal; to one that has ended already, none."""
        os.kill(self.pid, number)


class Server:
    """See :mod:`tests.resilience.fork_server`."""

    def __init__(self, root: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
        command = [sys.executable, "-m", "tests.resilience.fork_server"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=root
        )
        self._answer()

    def ask(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Send one command and return its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def start(
        self,
        folder: Path,
        *overrides: str,
        environment: Mapping[str, str] | None = None,
        dies_at: int | None = None,
        file_bytes: int | None = None,
    ) -> Process:
        """Start ``run.py`` on the tiny run in ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        command = {"argv": [*TINY, *overrides], "folder": str(folder), "environment": dict(environment or {})}
        return Process(self.ask({**command, "dies_at": dies_at, "file_bytes": file_bytes})["pid"], self)

    def stop(self) -> None:
        """End the server; its runs have ended."""
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


def outcome(folder: Path) -> tuple[dict[str, Any], bytes, bytes]:
    """Record without what clocks, memory gauges, interruptions or the number of processes decide, adapter, samples."""
    (path,) = (folder / "results" / "records").glob("*.json")
    record = read_record(path)
    for part, keys in {
        "training": ("seconds", "tokens_per_second", "peak_memory_bytes"),
        "evaluation": ("seconds",),
    }.items():
        for key in keys:
            del record[part][key]
    record["training"].pop("parts", None)
    for part in ("created", "resources", "provenance"):
        del record[part]
    run = folder / "runs" / record["run_id"]
    return record, (run / "adapter.safetensors").read_bytes(), (run / "samples.jsonl").read_bytes()


def keep_seconds(folder: Path, seconds: float) -> None:
    """Keep how long the run of ``folder`` took, imports apart."""
    (folder / "seconds.txt").write_text(str(seconds))


def seconds_of(folder: Path) -> float:
    """What :func:`keep_seconds` kept."""
    return float((folder / "seconds.txt").read_text())


def wait_for(folder: Path, pattern: str) -> None:
    """Wait until a file of ``folder`` fits ``pattern``."""
    deadline = time.monotonic() + 120
    while not list(folder.glob(pattern)):
        assert time.monotonic() < deadline, (folder / "log.txt").read_text()
        time.sleep(0.005)
