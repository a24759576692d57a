"""Making what is missing: the commands, the board, and a real run here."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from wegeft.cli import ROOT


@pytest.fixture(scope="module")
def sweep() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sweep", ROOT / "scripts" / "sweep.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["sweep"] = module
    spec.loader.exec_module(module)
    return module


def places(folder: Path) -> list[str]:
    return [f"records_dir={folder}/records", f"output_dir={folder}/runs"]


def test_commands(sweep: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["method=none", "seed=1,2", *places(tmp_path)]
    assert sweep.main([*words, "--dry-run", "--local"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"python run.py method=none seed={seed} {' '.join(places(tmp_path))}" for seed in (1, 2)]
    assert sweep.main([*words, "--dry-run", "--sbatch=--partition=gpu"]) == 0
    first = capsys.readouterr().out.splitlines()[0].split()
    assert first[0] == "sbatch"
    assert first[1].startswith("--job-name=wegeft-")
    assert first[2:4] == ["--partition=gpu", "slurm/run.sbatch"]


def test_what_is_missing_is_made_once(sweep: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["method=none", "evaluation.limit=1", "seed=1", *places(tmp_path)]
    assert sweep.main([*words, "--local"]) == 0
    assert "1 of 1 made" in capsys.readouterr().out
    assert sweep.main([*words, "--local"]) == 0
    assert "0 of 0 made" in capsys.readouterr().out
    assert sweep.main([*words, "--status"]) == 0
    assert "done 1" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["table=nothing"], ["method=nothing"], ["--nothing"], ["nothing=1"]])
def test_wrong_input_is_one_sentence(sweep: ModuleType, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep.main(words) == 2
    assert capsys.readouterr().err.startswith("error: ")
