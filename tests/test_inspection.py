"""Looking at finished runs, and at what a task's training set knows of its test set."""

from pathlib import Path

import pytest

from tests.composing import run_config
from wegeft import experiment, inspection
from wegeft.errors import UserError
from wegeft.records.identity import run_id

SHORT = ("method=none", "evaluation.limit=2", "task.listed_answers=false", "runtime.threads=1")


@pytest.fixture
def finished() -> str:
    """The id of a short run in the current folder."""
    config = run_config(*SHORT)
    experiment.run(config)
    return run_id(config.plain())


def test_a_finished_run_is_rescored_and_browsed(finished: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    inspection.rescore(run_config("mode=rescore", f"run={finished[:6]}"))
    assert "boolq" in capsys.readouterr().out
    inspection.samples(run_config("mode=samples", f"run={finished}", "samples.subset=piqa"))
    assert "2 of 16 answers." in capsys.readouterr().out


def test_a_run_that_is_not_there_is_refused_with_those_that_are(finished: str) -> None:
    with pytest.raises(UserError, match=finished):
        inspection.rescore(run_config("mode=rescore", "run=zzz"))
    with pytest.raises(UserError, match="needs run=ID"):
        inspection.samples(run_config("mode=samples"))


def test_nothing_of_the_mini_test_set_stands_in_its_training_set(capsys: pytest.CaptureFixture[str]) -> None:
    inspection.contamination(run_config("mode=contamination"))
    assert "boolq" in capsys.readouterr().out
    assert list(Path().iterdir()) == []
