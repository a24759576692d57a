"""Kept judgements are taken for the answer and the judge that they are about, and for no other."""

import json
from pathlib import Path

import pytest

from tests.composing import run_config
from tests.judge_server import JudgeServer
from wegeft import lock
from wegeft.errors import BusyError, UserError
from wegeft.evaluation.judging.compare_answers import judge_answers
from wegeft.evaluation.judging.config import JudgeConfig
from wegeft.evaluation.judging.grade_answers import grade_answers
from wegeft.evaluation.judging.run import judge
from wegeft.evaluation.samples import Sample

ASKED = {"x/test/0": "Say 0.", "x/test/1": "Say 1."}


def sample(uid: str, text: str, gold: str, subset: str = "x") -> Sample:
    return Sample(uid, subset, "", 1, text, text, gold, None, "whole_text", 1)


def answers(*texts: str) -> list[Sample]:
    return [sample(uid, text, "It is.") for uid, text in zip(ASKED, texts, strict=True)]


def turns(*texts: str) -> list[Sample]:
    gold = json.dumps({"question_id": 81, "category": "math", "turns": ["One?", "Two?"], "reference": []})
    return [sample("q", text, gold, subset) for text, subset in zip(texts, ("x", "x/second"), strict=True)]


def config(*words: str) -> JudgeConfig:
    return run_config(*words).judge


def test_another_answer_or_judge_is_asked_about_again(tmp_path: Path) -> None:
    kept = tmp_path / "judgements.json"
    with JudgeServer(lambda _: "A") as server:
        endpoint = f"judge.base_url={server.url}"
        judge_answers(answers("0", "1"), ASKED, kept, config(endpoint, "judge.model=a"))
        judge_answers(answers("0", "one"), ASKED, kept, config(endpoint, "judge.model=a"))
        assert len(server.prompts) == 3
        assert "one" in server.prompts[-1]
        found = judge_answers(answers("0", "1"), ASKED, kept, config(endpoint, "judge.model=b"))
        assert found.judge[0] == "b (pairwise prompt 1)"
        assert len(server.prompts) == 5
        # All are kept: whichever judge is named, nobody is asked again.
        for judge in "ab":
            again = judge_answers(answers("0", "1"), ASKED, kept, config(f"judge.model={judge}"))
            assert again.judge[0] == f"{judge} (pairwise prompt 1)"
        assert len(server.prompts) == 5
    with pytest.raises(UserError, match=r"judged by a \(pairwise prompt 1\) and b .*; name one of them"):
        judge_answers(answers("0", "1"), ASKED, kept, config())
    assert judge_answers(answers("0", "one"), ASKED, kept, config("judge.model=a")).scores["x"].n == 2


def test_judgements_that_do_not_say_of_which_answer_are_taken_on_request_alone(tmp_path: Path) -> None:
    kept = tmp_path / "judgements.json"
    rows = [{"instruction": asked, "preference": 2.0, "annotator": "gpt4"} for asked in ASKED.values()]
    kept.write_text(json.dumps(rows))
    with pytest.raises(UserError, match="nobody is there to judge"):
        judge_answers(answers("0", "1"), ASKED, kept, config())
    judge_answers(answers("0", "1"), ASKED, kept, config(f"judge.annotations={kept}"))
    assert judge_answers(answers("0", "1"), ASKED, kept, config()).judge == ("gpt4", "unknown")


def test_judgements_of_other_answers_made_elsewhere_are_refused(tmp_path: Path) -> None:
    made = tmp_path / "annotations.json"
    rows = [
        {"instruction": asked, "preference": 2.0, "annotator": "gpt4", "output_2": text}
        for asked, text in zip(ASKED.values(), ("0", "one"), strict=True)
    ]
    made.write_text(json.dumps(rows))
    chosen = config(f"judge.annotations={made}")
    assert judge_answers(answers("0", "one"), ASKED, tmp_path / "a.json", chosen).scores["x"].value == 1.0
    with pytest.raises(UserError, match=r"annotations\.json judges another answer than the run's to 'Say 1\.'"):
        judge_answers(answers("0", "1"), ASKED, tmp_path / "b.json", chosen)


def test_another_conversation_or_judge_is_graded_again(tmp_path: Path) -> None:
    kept = tmp_path / "grades.jsonl"
    with JudgeServer(lambda _: "[[5]]") as server:
        endpoint = f"judge.base_url={server.url}"
        grade_answers(turns("a", "b"), kept, "run", config(endpoint, "judge.model=a"))
        grade_answers(turns("a", "c"), kept, "run", config(endpoint, "judge.model=a"))
        assert len(server.prompts) == 3  # the first turn has not changed
        grade_answers(turns("d", "b"), kept, "run", config(endpoint, "judge.model=a"))
        assert len(server.prompts) == 5  # the grade of the second turn is about both
        found = grade_answers(turns("a", "b"), kept, "run", config(endpoint, "judge.model=b"))
        assert found.judge[0] == "b (grading prompt 1)"
        assert len(server.prompts) == 7
    assert grade_answers(turns("a", "b"), kept, "run", config("judge.model=a")).judge[0] == "a (grading prompt 1)"
    with pytest.raises(UserError, match="name one of them"):
        grade_answers(turns("a", "b"), kept, "run", config())


def test_a_run_that_another_process_works_at_is_left_alone(tmp_path: Path) -> None:
    """Two judges would each overwrite what the other keeps, and a run the record that they write."""
    folder = tmp_path / "0123456789ab"
    folder.mkdir()
    (folder / "config.yaml").write_text("")
    with lock.hold(folder), pytest.raises(BusyError, match=r"run 0123456789ab is being worked on by process \d+"):
        judge(run_config("mode=judge", "run=0123", f"output_dir={tmp_path}"))
