"""Instruction following: kept answers, a judge on loopback, scores recomputed offline, and the judge by rules."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.composing import run_config
from tests.judge_server import JudgeServer
from tests.tasks.tiny import text_task
from wegeft import experiment
from wegeft.errors import UserError
from wegeft.evaluation.checks import check_gold
from wegeft.evaluation.compare import is_correct
from wegeft.evaluation.judging.run import judge
from wegeft.evaluation.samples import SAMPLES, read_samples
from wegeft.records.identity import run_id
from wegeft.records.store import read_record
from wegeft.tasks.instruction import GENERATIONS, JUDGEMENTS, NO_ANSWER

ROWS = [{"instruction": f"Say {n}.", "output": f"It is {n}.", "dataset": "x", "generator": "y"} for n in range(4)]


def prefers_the_reference(prompt: str) -> str:
    """The letter of the answer of the reference, which says "It is"."""
    return "A" if prompt.partition("[Answer A]\n")[2].startswith("It is") else "B"


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with JudgeServer(prefers_the_reference) as found:
        yield found


def answering(root: Path) -> tuple[str, ...]:
    return (
        "task=instruction", "scale=small", "model=mini_llama", "training=mini", f"data.root={root}",
        "training.max_steps=2", "task.max_new_tokens=6", "runtime.threads=1", "evaluation.batch_size=auto",
    )  # fmt: skip


def answered(root: Path) -> tuple[str, dict[str, Any]]:
    """The id and the record of a run with answers that nobody has judged."""
    for name in ("ultrafeedback/train.json", "alpaca_eval/text_davinci_003_outputs.json"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(ROWS))
    config = run_config(*answering(root))
    experiment.run(config)
    identity = run_id(config.plain())
    return identity, read_record(Path("results/records") / f"{identity}.json")


def judge_run(identity: str, *overrides: str) -> dict[str, Any]:
    judge(run_config("mode=judge", f"run={identity}", *overrides))
    return read_record(Path("results/records") / f"{identity}.json")


def test_answers_wait_for_a_judge_and_are_scored_by_one(
    tmp_path: Path, server: JudgeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity, record = answered(tmp_path / "data")
    folder = Path("runs") / identity
    assert record["evaluation"] is None
    assert record["data"]["remarks"]["not_judged"] == f"python run.py mode=judge run={identity}"
    generations = json.loads((folder / GENERATIONS).read_text())
    assert [row["instruction"] for row in generations] == [row["instruction"] for row in ROWS]
    assert set(generations[0]) == {"instruction", "output", "dataset", "generator"}

    with pytest.raises(UserError, match=r"nobody is there to judge: set judge\.base_url"):
        judge_run(identity)

    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    endpoint = (f"judge.base_url={server.url}", "judge.model=tiny")
    server.broken_after = 2
    with pytest.raises(UserError, match=r"HTTP 401 no\); those it gave are kept"):
        judge_run(identity, *endpoint)
    assert len(json.loads((folder / JUDGEMENTS).read_text())) == 2
    server.broken_after = 1_000
    record = judge_run(identity, *endpoint)
    assert len(server.asked) == 5  # two, the refused one, the two that were missing
    assert set(server.keys) == {"Bearer secret"}
    score = record["evaluation"]["scores"]["alpaca_eval"]
    assert (score["metric"], score["value"], score["n"], score["chance"]) == ("win_rate", 0.0, 4, 0.5)
    assert record["evaluation"]["extractor"]["name"] == "tiny (pairwise prompt 1)"
    assert "not_judged" not in record["data"]["remarks"]
    kept = json.loads((folder / JUDGEMENTS).read_text())
    assert {(row["preference"], row["annotator"]) for row in kept} == {(1.0, "tiny (pairwise prompt 1)")}
    assert all(row["reply"] in "AB" and row["judged"].startswith("20") for row in kept)

    again = judge_run(identity)  # offline, from what is kept
    assert again["evaluation"]["scores"] == record["evaluation"]["scores"]
    assert again["evaluation"]["batch_size"] == record["evaluation"]["batch_size"] == 32  # auto, on a CPU
    assert len(server.asked) == 5

    experiment.evaluate(run_config(*answering(tmp_path / "data"), "mode=evaluate"))
    waiting = read_record(Path("results/records") / f"{identity}.json")
    assert waiting["evaluation"] is None
    assert waiting["data"]["remarks"]["not_judged"] == f"python run.py mode=judge run={identity}"
    last = judge_run(identity)
    assert last["evaluation"] == {**again["evaluation"], "provenance": waiting["data"]["remarks"]["provenance"]}
    assert last["data"] == again["data"]


def test_judgements_of_the_alpaca_eval_package_are_taken(tmp_path: Path) -> None:
    identity, _ = answered(tmp_path / "data")
    preferences = [2.0, 1.0, 1.5, None]
    rows = [
        {"instruction": row["instruction"], "preference": preference, "annotator": "alpaca_eval_gpt4"}
        for row, preference in zip(ROWS, preferences, strict=True)
    ]
    Path("annotations.json").write_text(json.dumps(rows))
    record = judge_run(identity, "judge.annotations=annotations.json")
    assert record["evaluation"]["scores"]["alpaca_eval"]["value"] == 0.5
    assert record["evaluation"]["scores"]["alpaca_eval"]["n"] == 3
    assert record["evaluation"]["extractor"] == {"name": "alpaca_eval_gpt4", "version": "unknown"}


def ranks_the_reference_first(prompt: str) -> str:
    """What AlpacaEval 1 wants to read, about the answer of the reference, which says "It is"."""
    first = prompt.partition('"answer": """')[2].startswith("It is")
    return str([{"model": "model_1", "rank": 1 if first else 2}, {"model": "model_2", "rank": 2 if first else 1}])


def test_an_annotator_of_the_alpaca_eval_package_asks_the_endpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    identity, _ = answered(tmp_path / "data")
    for wrong, said in (("alpaca_eval_gpt", r"\(did you mean alpaca_eval_gpt4\?\); choices: "), (".", "is none of")):
        with pytest.raises(UserError, match=said):
            judge_run(identity, f"judge.annotator={wrong}")
    with JudgeServer(ranks_the_reference_first) as server:
        annotator = ("judge.annotator=alpaca_eval_gpt4", f"judge.base_url={server.url}")
        server.broken_after = 0
        with pytest.raises(UserError, match=r"alpaca_eval has failed \(openai\.AuthenticationError"):
            judge_run(identity, *annotator)
        server.broken_after = 1_000
        record = judge_run(identity, *annotator)
        assert {body["model"] for body in server.asked} == {"gpt-4"}
        assert {body["temperature"] for body in server.asked} == {0}
        assert set(server.keys) == {"Bearer secret"}
        asked = len(server.asked)
        assert judge_run(identity, *annotator)["evaluation"] == record["evaluation"]  # from what is kept
        assert len(server.asked) == asked
        (Path("runs") / identity / JUDGEMENTS).unlink()
        other = judge_run(identity, *annotator, "judge.model=local")
        assert {body["model"] for body in server.asked[asked:]} == {"local"}
    score = record["evaluation"]["scores"]["alpaca_eval"]
    assert (score["value"], score["n"]) == (0.0, 4)
    assert re.fullmatch(r"alpaca_eval_gpt4 \(alpaca_eval [\d.]+\)", record["evaluation"]["extractor"]["name"])
    assert other["evaluation"]["extractor"]["name"].startswith("alpaca_eval_gpt4 asking local (")
    kept = json.loads((Path("runs") / identity / JUDGEMENTS).read_text())
    assert all("rank" in row["reply"] and row["judged"].startswith("20") for row in kept)


def test_the_rule_judge_scores_the_mini_instructions_at_once() -> None:
    config = run_config("task=instruction", "training.max_steps=2", "evaluation.limit=4")
    experiment.run(config)
    identity = run_id(config.plain())
    record = read_record(Path("results/records") / f"{identity}.json")
    assert record["evaluation"]["extractor"]["name"] == "RuleJudge"
    assert record["evaluation"]["scores"]["constraints"]["n"] == 4
    assert len(read_samples(Path("runs") / identity / SAMPLES)) == 4
    with pytest.raises(UserError, match="need no judge; mode=rescore"):
        judge_run(identity)


def test_every_mini_instruction_can_be_met_and_none_is_a_training_one() -> None:
    task = text_task("task=instruction")
    check_gold(task, task.test_examples())
    train = {example.prompt for example in task.train_examples()}
    assert len(train) == 600
    tests = task.test_examples()["constraints"]
    assert len(tests) == 100
    assert train.isdisjoint(example.prompt for example in tests)
    for example in task.train_examples():
        assert is_correct("constraints", example.target, example.gold)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("sun rain!", True),
        (" sun  rain! ", True),
        ("rain sun!", False),
        ("sun rain.", False),
        ("sun rain rain!", False),
    ],
)
def test_constraints_are_words_in_order_and_an_ending(text: str, right: bool) -> None:
    assert is_correct("constraints", text, json.dumps({"words": "sun rain", "ending": "!"})) is right


def test_a_row_without_an_output_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ultrafeedback" / "train.json"
    path.parent.mkdir()
    path.write_text(json.dumps([*ROWS, {"instruction": "?"}]))
    with pytest.raises(UserError, match="row 4 has no text field `output`"):
        text_task("task=instruction", "scale=paper", f"data.root={tmp_path}").train_examples()


def test_the_published_instructions_are_read(real_data: Path) -> None:
    task = text_task(
        "task=instruction",
        "scale=paper",
        f"data.root={real_data / 'instruct'}",
    )
    examples = task.test_examples()["alpaca_eval"]
    assert len(examples) == 805
    assert [int(e.uid.rpartition("/")[2]) for e in examples if e.gold == NO_ANSWER] == [247, 504]
    check_gold(task, {"alpaca_eval": examples})


def test_the_recipe_of_the_paper_is_the_published_one() -> None:
    config = run_config("+experiment=instruction_paper")
    assert (config.training.epochs, config.training.batch_size, config.training.warmup_ratio) == (12, 128, 0.0)
    assert config.protocol.model_dump()["max_length"] == 768
    assert config.task["decodings"] == {"greedy": {"no_repeat_ngram": 5, "repetition_penalty": 1.1}}
