"""One report for all tests of it: drawing its figures takes seconds."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.report.page import make_page


@pytest.fixture(scope="session")
def report_file(once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """The report of the made-up runs of `tests.report.page`; not to be changed."""

    def make(folder: Path) -> None:
        make_page(folder).rename(folder / "page.html")

    return once("report", make) / "page.html"
