"""A server of runs, and one run that nobody disturbs, for all tests of this folder."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.resilience.runs import Server, keep_seconds


@pytest.fixture(scope="session")
def server(project_root: Path) -> Iterator[Server]:
    """The process that forks runs."""
    running = Server(project_root)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def undisturbed(server: Server, once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """The folder of a run that nobody disturbed."""

    def run(folder: Path) -> None:
        started = time.perf_counter()
        assert server.start(folder).wait() == 0, (folder / "log.txt").read_text()
        keep_seconds(folder, time.perf_counter() - started)

    return once("undisturbed", run)
