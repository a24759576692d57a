"""A server of runs, and one run that nobody disturbs, for all tests of this folder."""

from collections.abc import Iterator
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
def undisturbed(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert server.start(folder).wait() == 0, (folder / "log.txt").read_text()
    return folder
