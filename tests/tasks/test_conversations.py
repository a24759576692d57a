"""Conversations: WizardLM's rows, two real turns, FastChat's files, grades of a judge on loopback."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from tests.composing import run_config
from tests.evaluation.tiny import tiny_encoder, tiny_llama
from tests.judge_server import JudgeServer
from tests.tasks.tiny import text_task
from wegeft import experiment
from wegeft.errors import UserError
from wegeft.evaluation.config import EvaluationConfig
from wegeft.evaluation.converse import Conversed, converse
from wegeft.evaluation.journal import PARTIAL
from wegeft.evaluation.judging.run import judge
from wegeft.evaluation.samples import SAMPLES, read_samples
from wegeft.records.identity import run_id
from wegeft.records.store import read_record
from wegeft.tasks.conversations import ANSWERS, GRADES, ConversationTask

CATEGORIES = ("writing", "math", "stem")
TRAIN = [
    {"instruction": "Name a bird.", "output": "A robin.", "instruction_zh": "x"},
    {"instruction": "Say it.", "output": "I am Sorry, no."},
    {"instruction": "Say it again.", "output": "As an AI, no."},
    {"instruction": "Name a fish.", "output": "A carp."},
]


def question(number: int, turns: Sequence[str] = ("", ""), **more: Any) -> dict[str, Any]:
    texts = [turn or f"{ordinal} of {number}?" for ordinal, turn in zip(("First", "Second"), turns, strict=False)]
    return {"question_id": 81 + number, "category": CATEGORIES[number % 3], "turns": texts, **more}


QUESTIONS = [question(0), question(1, reference=["One.", "Two."]), question(2), question(3)]


def write_files(root: Path, train: Sequence[Any] = TRAIN, questions: Sequence[Any] = QUESTIONS) -> Path:
    for name, rows in (("wizardlm/train.jsonl", train), ("mt_bench/question.jsonl", questions)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def task_on(root: Path, *overrides: str) -> ConversationTask:
    task = text_task("task=wizardlm", "scale=small", f"data.root={root}", *overrides)
    assert isinstance(task, ConversationTask)
    return task


def test_refusals_are_not_trained_on_and_counted(tmp_path: Path) -> None:
    task = task_on(write_files(tmp_path))
    examples = task.train_examples()
    assert [(e.uid, e.target) for e in examples] == [("wizardlm/train/0", "A robin."), ("wizardlm/train/3", "A carp.")]
    assert task.source.left_out("wizardlm", "train") == 2


@pytest.mark.parametrize(
    ("train", "questions", "sentence"),
    [
        ([{"instruction": "?"}], QUESTIONS, "row 0 has no text field `output`"),
        (TRAIN[1:3], QUESTIONS, "holds nothing but refusals"),
        (TRAIN, [question(0, ["One?"])], "row 0: its `turns` are not two texts"),
        (TRAIN, [question(0) | {"question_id": "81"}], "row 0 has no number `question_id`"),
        (TRAIN, [question(0, reference=[1])], "row 0: its `reference` is not a list of texts"),
    ],
)
def test_broken_rows_are_named(tmp_path: Path, train: Any, questions: Any, sentence: str) -> None:
    task = task_on(write_files(tmp_path, train, questions))
    with pytest.raises(UserError, match=sentence):
        _ = task.train_examples(), task.test_examples()


def test_a_category_without_a_temperature_is_refused(tmp_path: Path) -> None:
    task = task_on(write_files(tmp_path))
    with pytest.raises(UserError, match=r"task\.temperatures has none for poetry; it has writing"):
        task.temperature("poetry")


def test_a_template_that_does_not_ask_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the template must use \{instruction\} and no other field"):
        task_on(tmp_path, "task.next_turn=Next.")


CONFIG = EvaluationConfig(batch_size=2, merge=True, limit=None)


def test_the_second_turn_is_asked_after_the_models_own_first_answer(tmp_path: Path) -> None:
    """By hand: what the model answers to the prompt of question, own answer and second question, greedily."""
    root = write_files(tmp_path / "data")
    task = task_on(root, "task.max_new_tokens=6", "task.prompt='{instruction}:'", "task.next_turn=' {instruction}:'")
    assert converse(tiny_llama(), tiny_encoder(), task, CONFIG, tmp_path) == Conversed({}, 2)
    first, second = read_samples(tmp_path / SAMPLES)[1], read_samples(tmp_path / SAMPLES)[5]
    assert (first.uid, first.subset, first.score) == ("mt_bench/test/1", "mt_bench", None)
    assert (second.uid, second.subset) == ("mt_bench/test/1", "mt_bench/second_turn")
    encoder, model = tiny_encoder(), cast(Any, tiny_llama())
    for prompt, text in (
        ("First of 1?:", first.text),
        (f"First of 1?:{first.text} Second of 1?:", second.text),
    ):
        ids = encoder.encode_prompt(prompt)
        greedy = model.generate(torch.tensor([ids]), max_new_tokens=6, do_sample=False)[0, len(ids) :].tolist()
        assert encoder.decode(greedy) == text


def test_an_interrupted_conversation_goes_on_and_a_batch_size_changes_nothing(tmp_path: Path) -> None:
    task = task_on(write_files(tmp_path / "data"), "task.max_new_tokens=6", "task.prompt='{instruction}:'")
    converse(tiny_llama(), tiny_encoder(), task, CONFIG.model_copy(update={"batch_size": 4}), tmp_path / "whole")
    model, calls = tiny_llama(), [0]

    def dies(*_: Any) -> None:
        calls[0] += 1
        if calls[0] == 6 * 5:  # in the second turn: the first had four categories in three batches
            raise KeyboardInterrupt

    with model.register_forward_pre_hook(dies), pytest.raises(KeyboardInterrupt):
        converse(model, tiny_encoder(), task, CONFIG, tmp_path)
    assert 4 < len((tmp_path / PARTIAL).read_text().splitlines()) - 1 < 8
    converse(model, tiny_encoder(), task, CONFIG, tmp_path)
    assert (tmp_path / SAMPLES).read_bytes() == (tmp_path / "whole" / SAMPLES).read_bytes()


def test_a_turn_without_room_is_left_unanswered_and_counted(tmp_path: Path) -> None:
    long = [question(0), question(1, ["", "why " * 80])]
    task = task_on(
        write_files(tmp_path / "data", questions=long), "task.max_new_tokens=6", "task.prompt='{instruction}:'"
    )
    assert converse(tiny_llama(), tiny_encoder(), task, CONFIG, tmp_path).too_long == {"mt_bench/second_turn": 1}
    texts = [sample.text for sample in read_samples(tmp_path / SAMPLES)]
    assert texts[3] == ""
    assert all(texts[:3])


def answered(root: Path) -> str:
    """The id of a run whose answers nobody has graded."""
    config = run_config(
        "task=wizardlm", "scale=small", "model=mini_llama", "training=mini", f"data.root={write_files(root)}",
        "training.max_steps=2", "task.max_new_tokens=6", "runtime.threads=1",
    )  # fmt: skip
    experiment.run(config)
    return run_id(config.plain())


def judged(identity: str, *overrides: str) -> dict[str, Any]:
    judge(run_config("mode=judge", f"run={identity}", *overrides))
    return read_record(Path("results/records") / f"{identity}.json")


def test_answers_are_kept_in_fastchats_format_and_graded_later(tmp_path: Path) -> None:
    identity = answered(tmp_path / "data")
    folder = Path("runs") / identity
    record = read_record(Path("results/records") / f"{identity}.json")
    assert record["evaluation"] is None
    assert record["data"]["remarks"] == {
        "train_rows_left_out": 2,
        "not_judged": f"python run.py mode=judge run={identity}",
        "batch_size": 32,
    }
    rows = [json.loads(line) for line in (folder / ANSWERS).read_text().splitlines()]
    assert [row["question_id"] for row in rows] == [81, 82, 83, 84]
    assert all(row["model_id"] == identity and len(row["choices"][0]["turns"]) == 2 for row in rows)

    with JudgeServer(lambda prompt: "Poor. [[4]]" if "Second of" in prompt else "Good. [[8]]") as server:
        endpoint = (f"judge.base_url={server.url}", "judge.model=tiny")
        server.broken_after = 3
        with pytest.raises(UserError, match=r"HTTP 401 no\); those it gave are kept"):
            judged(identity, *endpoint)
        server.broken_after = 1_000
        record = judged(identity, *endpoint)
        assert len(server.prompts) == 9  # three, the refused one, the five that were missing
        with_reference, again = [prompt for prompt in server.prompts if "Two." in prompt]  # the refused one
        assert with_reference == again
        assert rows[1]["choices"][0]["turns"][0] in with_reference
        assert "First of 1?" in with_reference
    scores = record["evaluation"]["scores"]
    assert (scores["mt_bench"]["metric"], scores["mt_bench"]["value"], scores["mt_bench"]["n"]) == ("grade", 0.8, 4)
    assert scores["mt_bench/second_turn"]["value"] == 0.4
    assert record["evaluation"]["mean"] == 0.8  # official: first turns alone
    assert record["evaluation"]["extractor"]["name"] == "tiny (grading prompt 1)"
    assert judged(identity)["evaluation"]["scores"] == scores  # offline, from what is kept
    assert len((folder / GRADES).read_text().splitlines()) == 8


def test_judgements_of_fastchat_are_taken_and_those_of_other_models_left(tmp_path: Path) -> None:
    identity = answered(tmp_path / "data")
    rows = [
        {"question_id": 81 + n, "model": model, "judge": ["gpt-4", "single-v1"], "score": score, "turn": turn}
        for model, first in ((identity, [10, 5, -1, 6]), ("other", [1, 1, 1, 1]))
        for turn in (1, 2)
        for n, score in enumerate(first)
    ]
    Path("gpt-4_single.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    record = judged(identity, "judge.annotations=gpt-4_single.jsonl")
    assert record["evaluation"]["scores"]["mt_bench"]["value"] == pytest.approx(0.7)
    assert record["evaluation"]["scores"]["mt_bench"]["n"] == 3
    assert record["evaluation"]["extractor"] == {"name": "gpt-4 single-v1", "version": "unknown"}


def test_the_mini_conversations_run_end_to_end() -> None:
    config = run_config("task=wizardlm", "training.max_steps=2", "evaluation.limit=2", "runtime.threads=1")
    experiment.run(config)
    samples = read_samples(Path("runs") / run_id(config.plain()) / SAMPLES)
    assert [sample.subset for sample in samples] == ["constraints"] * 2 + ["constraints/second_turn"] * 2


def test_the_recipe_of_the_paper_is_the_published_one() -> None:
    config = run_config("+experiment=wizardlm_paper")
    assert (config.training.epochs, config.training.batch_size, config.training.schedule) == (1, 32, "cosine")
    assert config.task["accept"] == {"below_tokens": 1024, "rows": 52_000}
    assert config.task["max_new_tokens"] == 1024
    assert len(config.model.adapted_modules) == 7
