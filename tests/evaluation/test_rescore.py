"""Scores from kept answers: the same under the same rule, every flip shown under another, and fast."""

import io
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from tests.composing import composed
from tests.tasks.tiny import text_task
from wegeft.errors import UserError
from wegeft.evaluation.browse import PAGE, browse, select
from wegeft.evaluation.rescore import print_rescored, rescore, rescore_run
from wegeft.evaluation.samples import Sample, read_samples, write_samples
from wegeft.tasks.text import TextTask

ANSWERS = {
    "boolq/test/0": ("the correct answer is true", "true", "true", 1.0),
    "boolq/test/1": ("the correct answer is true the correct answer is false", "false", "false", 1.0),
    "piqa/test/0": ("the correct answer is solution1.", "solution1.", "solution1", 0.0),
    "piqa/test/1": ("no idea", None, "solution2", 0.0),
}


def sample(uid: str) -> Sample:
    text, extracted, gold, score = ANSWERS[uid]
    return Sample(uid, uid.partition("/")[0], "0" * 64, 9, text, extracted, gold, score, "AfterTrigger", 1)


SAMPLES = [sample(uid) for uid in ANSWERS]


def task(name: str = "clean") -> TextTask:
    return text_task(f"protocol={name}", "task.test_subsets=[boolq,piqa]")


def run_folder(folder: Path, name: str = "clean") -> Path:
    """A finished run with SAMPLES, evaluated under protocol `name`."""
    config: Any = {"task": composed(f"protocol={name}")["task"]}
    write_samples(SAMPLES, folder)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def printed(show: Any) -> str:
    console = Console(file=io.StringIO(), width=200)
    show(console)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]  # it is the StringIO above
    return text


def test_the_same_rule_gives_the_same_scores_and_no_flip() -> None:
    found = rescore(SAMPLES, task())
    assert found.flips == ()
    assert found.before == found.after
    assert found.mean_after == 0.5
    assert found.after["boolq"].value == 1.0


def test_another_rule_shows_every_flip() -> None:
    """The v3 rule reads after the first occurrence, so the answer that repeats itself becomes wrong."""
    found = rescore(SAMPLES, task("v3"))
    (flip,) = found.flips
    assert flip.sample.uid == "boolq/test/1"
    assert flip.extracted == "true the correct answer is false"
    assert flip.score == 0.0
    assert (found.mean_before, found.mean_after) == (0.5, 0.25)
    text = printed(lambda console: print_rescored(found, console))
    assert "boolq/test/1: 'false' (1) -> 'true the correct answer is false' (0), gold 'false'" in text
    assert "1 answers are read or scored differently" in text


def test_a_score_that_was_tampered_with_is_a_flip() -> None:
    (flip,) = rescore([*SAMPLES[:3], replace(SAMPLES[3], score=1.0)], task()).flips
    assert flip.sample.uid == "piqa/test/1"


def test_a_run_is_scored_again_from_its_folder(tmp_path: Path) -> None:
    assert rescore_run(run_folder(tmp_path)).mean_after == 0.5
    assert rescore_run(run_folder(tmp_path, "v3")).mean_after == 0.25


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there are no samples at"):
        rescore_run(tmp_path)
    write_samples(SAMPLES, tmp_path)
    with pytest.raises(UserError, match=r"there is no run in .*: it has no config\.yaml"):
        rescore_run(tmp_path)


def test_the_whole_commonsense_test_set_is_read_and_scored(tmp_path: Path) -> None:
    sizes = {"boolq": 3270, "piqa": 22419 - 3270}
    many = [replace(SAMPLES[0], uid=f"{s}/test/{n}", subset=s) for s, count in sizes.items() for n in range(count)]
    write_samples(many, tmp_path)
    found = rescore(read_samples(tmp_path / "samples.jsonl"), task())
    assert found.after["piqa"].n == sizes["piqa"]
    assert found.mean_after == 1.0


def test_samples_survive_the_file(tmp_path: Path) -> None:
    odd = replace(
        SAMPLES[0], text='a\u2028b\nc \U0001f600 "quoted"', others={"strict": {"extracted": None, "score": 0.0}}
    )
    write_samples([odd], tmp_path)
    assert read_samples(tmp_path / "samples.jsonl") == [odd]
    assert json.loads((tmp_path / "samples.jsonl").read_text()) == asdict(odd)


@pytest.mark.parametrize(
    ("which", "uids"),
    [
        ("all", list(ANSWERS)),
        ("right", ["boolq/test/0", "boolq/test/1"]),
        ("wrong", ["piqa/test/0", "piqa/test/1"]),
        ("unreadable", ["piqa/test/1"]),
    ],
)
def test_which_answers_are_shown(which: Any, uids: list[str]) -> None:
    assert [found.uid for found in select(SAMPLES, which)] == uids


def test_browsing_shows_question_answer_and_gold(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    text = printed(lambda console: browse(folder, "wrong", "piqa", None, console))
    assert "piqa/test/0" in text
    assert "Please choose the correct solution" in text  # the question, rendered again from the task's data
    assert "read 'solution1.', gold 'solution1'" in text
    assert "boolq" not in text
    assert "2 of 4 answers" in text


def test_browsing_stops_when_asked_to(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    write_samples([replace(SAMPLES[0], uid=f"boolq/test/{n}") for n in range(3 * PAGE)], folder)
    asked = iter([True, False])
    console = Console(file=io.StringIO())
    assert browse(folder, "all", None, None, console, lambda: next(asked)) == 2 * PAGE
    assert browse(folder, "all", None, 3, console) == 3


def test_browsing_a_set_that_was_not_asked_names_the_choices(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no answers on winogrande; it has boolq, piqa"):
        browse(run_folder(tmp_path), "all", "winogrande", None, Console(file=io.StringIO()))
