"""The committed figures of the benchmarks say what made them."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FIGURES = sorted((ROOT / "benchmarks").glob("*.json"))


@pytest.mark.parametrize("path", FIGURES, ids=lambda path: path.stem)
def test_figures_name_a_command_that_exists_and_a_commit_without_changes(path: Path) -> None:
    figures = json.loads(path.read_text())
    reports = [figures] if "provenance" in figures else list(figures.values())
    assert reports
    for report in reports:
        python, option, module, *_ = report["provenance"]["command"]
        assert (python, option) == ("python", "-m")
        assert (ROOT / module.replace(".", "/")).with_suffix(".py").is_file()
        assert report["provenance"]["git"]["dirty"] is False
