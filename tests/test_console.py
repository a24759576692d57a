"""The table of scores that a run ends with names what was measured."""

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.records.factory import make_record
from wegeft.console import _scores, print_record


def shown(*metrics: str) -> str:
    scores = {
        f"set{number}": {"metric": metric, "value": 0.5, "stderr": None, "n": 10, "chance": None}
        for number, metric in enumerate(metrics)
    }
    record: dict[str, Any] = {"evaluation": {"scores": scores, "mean": 0.5, "n": 10}}
    console = Console(width=100)
    with console.capture() as captured:
        console.print(_scores(record))
    return captured.get()


@pytest.mark.parametrize(("metric", "heading"), [("accuracy", "accuracy %"), ("win_rate", "win rate %")])
def test_the_heading_is_the_metric(metric: str, heading: str) -> None:
    text = shown(metric, metric)
    assert heading in text
    assert f"({metric})" not in text


def test_sets_with_different_metrics_name_their_own() -> None:
    text = shown("accuracy", "pearson")
    assert "score %" in text
    assert "set1 (pearson)" in text


def test_a_run_that_diverged_at_its_first_step_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    record = make_record(status="diverged")
    record["training"] |= {"steps": 0, "final_loss": None}
    print_record(record, Path("record.json"))
    assert "0 steps" in capsys.readouterr().out


def test_another_way_of_answering_has_a_column_of_its_own() -> None:
    score = {"metric": "accuracy", "value": 0.5, "stderr": None, "n": 10, "chance": None}
    scores = {"boolq": score, "boolq/listed": score | {"value": 0.75}, "boolq/strict": score | {"value": 0.25}}
    record: dict[str, Any] = {"evaluation": {"scores": scores, "mean": 0.5, "other_means": {"listed": 0.75}, "n": 20}}
    console = Console(width=100)
    with console.capture() as captured:
        console.print(_scores(record))
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in captured.get().splitlines() if "│" in line]
    assert "listed %" in captured.get()
    assert lines == [
        ["boolq", "50.0", "", "75.0", "10", ""],
        ["boolq/strict", "25.0", "", "", "10", ""],
        ["mean", "50.0", "", "75.0", "", ""],
    ]
