"""One report for all tests of it: drawing its figures takes seconds."""

from pathlib import Path

import pytest

from tests.report.page import make_page


@pytest.fixture(scope="session")
def report_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the made-up runs of `tests.report.page`; not to be changed."""
    return make_page(tmp_path_factory.mktemp("report"))
