"""Whole searches on a sliver of the mini world: what they try, see, leave behind and refuse."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.composing import run_config
from wegeft.cli import main
from wegeft.exits import BAD_INPUT, STORAGE
from wegeft.records.identity import run_id
from wegeft.records.store import read_record
from wegeft.tasks import build_task
from wegeft.tuning.found import Found

SMALL = (
    "task.sources.mini.train_rows=40",
    "task.train_subsets=[ARC-Easy,openbookqa]",
    "task.test_subsets=[ARC-Easy,openbookqa]",
    "training.max_steps=2",
    "training.batch_size=4",
)
RATES = "tune.space=[{key:training.learning_rate,values:[1e-3,1e-2]}]"
RECORDS = Path("runs/tune/records")


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Carries out ``python run.py WORDS`` in this process."""

    def carry_out(*words: str) -> None:
        monkeypatch.setattr(sys, "argv", ["run.py", *SMALL, *words])
        main()

    return carry_out


def found(method: str) -> Found:
    """The finished search of a method."""
    path = Path(f"results/tuned/commonsense/mini-clean/mini_llama/{method}.json")
    return Found.model_validate_json(path.read_bytes())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.json")}


def test_every_method_is_offered_the_same_and_no_test_row_is_seen(type_in: Any) -> None:
    for method in ("lora", "red"):
        type_in("mode=tune", f"method={method}", RATES)
    lora, red = found("lora"), found("red")
    assert [trial.values for trial in lora.trials] == [trial.values for trial in red.trials]
    assert lora.budget == red.budget == len(lora.trials) == 2
    reported = build_task(run_config(*SMALL).task).scored_uids(run_config().protocol)
    for identity in (identity for one in (lora, red) for trial in one.trials for identity in trial.run_ids):
        lines = (Path("runs/tune") / identity / "samples.jsonl").read_text().splitlines()
        seen = {json.loads(line)["uid"] for line in lines}
        assert len(seen) == 8
        assert all("/train/" in uid for uid in seen)
        assert not seen & reported
        record = read_record(RECORDS / f"{identity}.json")
        assert record["data"]["train_examples"] == 72
        assert record["config"]["seed"] == 0
        assert record["command"][0] == "run.py"
        assert "mode=tune" not in record["command"]


def test_the_best_is_chosen_and_a_run_that_takes_it_says_so(type_in: Any) -> None:
    type_in("mode=tune", "method=lora", RATES)
    search = found("lora")
    assert search.score == max(trial.score for trial in search.trials if trial.score is not None)
    assert search.before == {"training.learning_rate": run_config("method=lora").training.learning_rate}
    type_in("method=lora", "tuned=true", "evaluation.limit=1")
    (path,) = Path("results/records").glob("*.json")
    record = read_record(path)
    rate = search.best["training.learning_rate"]
    assert record["config"]["training"]["learning_rate"] == rate
    source = record["hyper_parameters"]["training.learning_rate"]
    assert source == {
        "value": rate,
        "source": "tuned",
        "file": "results/tuned/commonsense/mini-clean/mini_llama/lora.json",
        "sha256": record["config"]["tuned"]["sha256"],
    }
    by_hand = run_config(*SMALL, "method=lora", f"training.learning_rate={rate}", "evaluation.limit=1")
    assert record["run_id"] == run_id(by_hand.plain())


def test_an_interrupted_search_goes_on_where_it_stopped(type_in: Any) -> None:
    type_in("mode=tune", "method=lora", RATES)
    before, whole = contents(RECORDS), found("lora")
    lost = whole.trials[1].run_ids[0]
    (RECORDS / f"{lost}.json").unlink()
    type_in("mode=tune", "method=lora", RATES)
    after = contents(RECORDS)
    assert found("lora").trials == whole.trials
    assert after.keys() == before.keys()
    assert {name for name in before if before[name] == after[name]} >= before.keys() - {f"{lost}.json"}


def test_a_search_over_ranges_is_repeatable(type_in: Any) -> None:
    space = (
        "tune.space=[{key:training.learning_rate,low:1e-4,high:1e-1,log:true},"
        "{key:training.weight_decay,values:[0.0,0.1]}]"
    )
    words = ("mode=tune", "method=red", space, "tune.trials=2", "tune.seeds=[0,1]")
    type_in(*words)
    first = found("red")
    type_in(*words, "output_dir=elsewhere")
    assert found("red").trials == first.trials
    assert all(1e-4 <= float(trial.values["training.learning_rate"] or 0) <= 1e-1 for trial in first.trials)
    assert {len(trial.run_ids) for trial in first.trials} == {2}


def test_a_diverged_trial_counts_and_is_not_chosen(type_in: Any, capsys: pytest.CaptureFixture[str]) -> None:
    rates = "tune.space=[{key:training.learning_rate,values:[1e-3,1e20]}]"
    type_in("mode=tune", "method=full", "training.max_steps=3", "training.max_grad_norm=null", rates)
    search = found("full")
    assert {trial.values["training.learning_rate"]: trial.score is None for trial in search.trials} == {
        1e-3: False,
        1e20: True,
    }
    assert search.best == {"training.learning_rate": 1e-3}
    assert "diverged" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("task=code", "scale=small"), ("task=code", "no validation rows at scale=small")),
        (("task=own/files",), ("task=own", "tune.validation=")),
        (("tune.held_out=null",), ("ARC-Easy/test/0", "rows that runs report")),
        (("task=mini_acceptability", "protocol=glue_clean", "tune.validation=[]"), ("rows that runs report",)),
        (("task=mini_fgvc/birds", "tune.validation=['task.test_split=test']"), ("birds/test/0", "of 400 rows")),
        (("tune.space=[{key:training.lr,values:[1]}]",), ("training.lr", "learning_rate")),
        (("tune.space=[{key:training.learning_rate,low:1,high:2}]",), ("tune.trials must be given",)),
        (("tune.space=[{key:training.learning_rate,low:0,high:2,log:true}]",), ("begins at 0.0",)),
        (("tune.space=[{key:training.learning_rate,low:2,high:1}]",), ("training.learning_rate needs values",)),
        (("tune.space=[{key:training.learning_rate,values:[]}]",), ("values", "at least 1")),
        (("tune.space=[]",), ("tune.space",)),
        (("tuned=true",), ("tuned=", "leave one of them away")),
        (("tune.trials=0",), ("tune.trials=0",)),
    ],
)
def test_refusals_are_one_sentence_and_come_before_any_training(
    words: tuple[str, ...], said: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = () if any(word.startswith("task=") for word in words) else SMALL
    monkeypatch.setattr(sys, "argv", ["run.py", "mode=tune", *small, *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == BAD_INPUT
    sentence = capsys.readouterr().err.strip()
    assert sentence.startswith("error: ")
    assert "\n" not in sentence
    assert all(word in sentence for word in said), sentence
    assert not Path("runs").exists()


def test_a_folder_for_the_search_that_cannot_be_written_ends_it_before_any_training(
    type_in: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").touch()
    with pytest.raises(SystemExit) as stopped:
        type_in("mode=tune", "method=lora", RATES, "tune.folder=file/tuned")
    assert stopped.value.code == STORAGE
    assert "error: tune.folder=file/tuned cannot be written to" in capsys.readouterr().err
    assert not Path("runs").exists()
