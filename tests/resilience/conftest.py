"""A server of runs, and one run that nobody disturbs, for all tests of this folder."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.resilience.runs import Server


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
        assert server.start(folder).wait() == 0, (folder / "log.txt").read_text()

    return once("undisturbed", run)
