"""Whole runs on the mini scale, shortened: what they leave behind, and what they refuse."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from tests.composing import run_config
from wegeft import experiment, lock, models
from wegeft.errors import BusyError, UserError
from wegeft.exits import DIVERGED
from wegeft.models.transformers_source import resolve_source
from wegeft.records.identity import digest, run_id
from wegeft.records.store import read_record
from wegeft.training import evidence

SHORT = (
    "training.max_steps=3",
    "task.sources.mini.train_rows=8",
    "evaluation.limit=2",
    "task.listed_answers=false",
    "runtime.threads=1",
)


def finished(*overrides: str) -> dict[str, Any]:
    """The record of a shortened run in the current folder."""
    config = run_config(*SHORT, *overrides)
    experiment.run(config)
    return read_record(Path(config.records_dir) / f"{run_id(config.plain())}.json")


def test_a_run_leaves_a_valid_record_and_its_parts() -> None:
    record = finished("task.listed_answers=true")
    folder = Path("runs") / record["run_id"]
    assert record["status"] == "finished"
    assert yaml.safe_load((folder / "config.yaml").read_text()) == record["config"]
    assert record["training"]["steps"] == 3
    assert len(record["training"]["loss_curve"]) == 3
    assert record["evaluation"]["n"] == 32
    assert len(record["evaluation"]["scores"]) == 16  # free, and with the listed answers alone
    samples = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    assert len(samples) == 32
    for subset, score in record["evaluation"]["scores"].items():
        answered = [sample for sample in samples if sample["subset"] == subset]
        assert score["value"] == sum(sample["score"] for sample in answered) / len(answered)
    specials = record["prompt"]["special_tokens"]
    assert record["prompt"]["input_ids"].count(specials["bos"]) == 1
    assert record["parameters"]["trainable"] > 0
    assert record["training"]["diverging"] is False
    resources = record["resources"]
    assert resources["disk_bytes"] > (folder / "adapter.safetensors").stat().st_size
    assert resources["host_peak_bytes"] >= record["training"]["peak_memory_bytes"] > 0
    assert (resources["processes"], resources["gpu_peak_bytes"] is None) == (1, not torch.cuda.is_available())
    assert set(record["data"]["hashes"]) >= {"boolq/train", "boolq/test"}


def test_a_recorded_run_is_not_repeated_and_a_forced_one_is_identical(capsys: pytest.CaptureFixture[str]) -> None:
    first = finished()
    capsys.readouterr()
    assert finished() == first
    assert "force=true runs it again" in capsys.readouterr().out
    again = finished("force=true")
    assert again["adapter"] == first["adapter"]
    assert again["training"]["loss_curve"] == first["training"]["loss_curve"]
    assert again["evaluation"]["scores"] == first["evaluation"]["scores"]


def test_an_evaluation_again_leaves_all_that_the_record_says_about_the_training() -> None:
    first = finished()
    path = Path("results/records") / f"{first['run_id']}.json"
    first["provenance"]["hardware"]["cpu"] = "where it was trained"
    path.write_text(json.dumps(first))
    experiment.evaluate(run_config(*SHORT, "mode=evaluate"))
    again = read_record(path)
    assert again["evaluation"]["scores"] == first["evaluation"]["scores"]
    assert again["evaluation"]["provenance"]["hardware"]["cpu"] != "where it was trained"
    assert "provenance" not in first["evaluation"]
    apart = ("evaluation", "created")
    assert {key: again[key] for key in again if key not in apart} == {k: first[k] for k in first if k not in apart}


def test_another_adapter_file_can_be_evaluated_and_has_a_record_of_its_own() -> None:
    first = finished()
    copy = Path("elsewhere.safetensors")
    copy.write_bytes((Path("runs") / first["run_id"] / "adapter.safetensors").read_bytes())
    config = run_config(*SHORT, "mode=evaluate", f"adapter={copy}")
    experiment.evaluate(config)
    other = read_record(Path("results/records") / f"{run_id(config.plain())}.json")
    assert other["run_id"] != first["run_id"]
    assert other["training"] is None
    assert other["adapter"] == first["adapter"]
    assert other["evaluation"]["scores"] == first["evaluation"]["scores"]


def test_a_record_of_other_data_is_not_taken_for_this_run() -> None:
    record = finished()
    path = Path("results/records") / f"{record['run_id']}.json"
    path.write_text(path.read_text().replace(record["data"]["hashes"]["boolq/train"], "0" * 64))
    with pytest.raises(UserError, match="other data"):
        finished()


def test_a_record_of_other_weights_is_not_taken_for_this_run(tmp_path: Path) -> None:
    backbone = tmp_path / "backbone"
    shutil.copytree(resolve_source(run_config().model), backbone)
    mine = (f"model.source={backbone}", "model=local_llama")
    first = finished(*mine)
    assert set(first["backbone"]) >= {"model.safetensors", "config.json", "tokenizer.json"}
    assert finished(*mine) == first
    weights = load_file(backbone / "model.safetensors")
    save_file({name: weight * 1.01 for name, weight in weights.items()}, backbone / "model.safetensors")
    with pytest.raises(UserError, match=r"another backbone than model\.source=.* \(model\.safetensors differs\)"):
        finished(*mine)
    again = finished(*mine, "force=true")
    assert again["training"]["loss_curve"] != first["training"]["loss_curve"]
    changed = {name for name in first["backbone"] if first["backbone"][name] != again["backbone"][name]}
    assert changed == {"model.safetensors"}


def test_a_record_is_shown_where_its_weights_are_not_at_hand(capsys: pytest.CaptureFixture[str]) -> None:
    config = run_config(*SHORT)
    record = finished()
    path = Path("results/records") / f"{record['run_id']}.json"
    elsewhere = config.model_copy(update={"model": config.model.model_copy(update={"source": "./nowhere"})})
    experiment._check_backbone(record, path, elsewhere)
    assert "its backbone is not at hand: model.source=./nowhere" in capsys.readouterr().err.replace("\n", " ")


def test_a_hub_id_that_has_moved_on_is_noted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = {"backbone": {"commit": "a" * 40}}
    monkeypatch.setattr(models, "content_hashes", lambda _: {"commit": "b" * 40})
    experiment._check_backbone(record, Path("record.json"), run_config())
    assert f"is at commit {'b' * 40} now, the record is of {'a' * 40}" in capsys.readouterr().err


def test_limits_that_leave_no_training_row_are_refused() -> None:
    with pytest.raises(UserError, match=r"protocol\.max_length=8 .* leave no training row"):
        finished("protocol.max_length=8", "protocol.truncation=skip")


def test_a_broken_record_is_named() -> None:
    record = finished()
    path = Path("results/records") / f"{record['run_id']}.json"
    path.write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        finished()


def test_evaluating_what_was_never_trained_is_refused() -> None:
    with pytest.raises(UserError, match=r"adapter\.safetensors does not exist"):
        experiment.evaluate(run_config(*SHORT, "mode=evaluate"))


def test_the_plain_backbone_is_evaluated_without_training() -> None:
    record = finished("method=none")
    assert record["training"] is None
    assert record["adapter"] is None
    assert record["parameters"]["trainable"] == 0
    assert record["evaluation"]["n"] == 16


def test_a_diverged_run_is_recorded_and_not_evaluated() -> None:
    config = run_config(*SHORT, "method=full", "training.learning_rate=1e20", "training.max_grad_norm=null")
    with pytest.raises(SystemExit) as stopped:
        experiment.run(config)
    assert stopped.value.code == DIVERGED
    record = read_record(Path("results/records") / f"{run_id(config.plain())}.json")
    assert record["status"] == "diverged"
    assert "the step was not taken" in record["error"]
    assert record["evaluation"] is None
    assert record["adapter"] is None
    folder = Path("runs") / record["run_id"]
    with pytest.raises(UserError, match="diverged, so it has no adapter"):
        experiment.evaluate(config)
    facts = json.loads((folder / evidence.FACTS).read_text())
    assert facts["step"] == record["training"]["steps"]
    assert "nan" in (facts["loss"], facts["gradient_norm"]) or "inf" in (facts["loss"], facts["gradient_norm"])
    batch = load_file(folder / evidence.TENSORS)
    assert len(batch["input_ids"]) == len(facts["examples"]) == config.training.batch_size


def test_a_run_that_diverges_when_it_is_repeated_keeps_no_answers_of_the_one_before() -> None:
    config = run_config(*SHORT, "method=full", "training.learning_rate=1e20", "training.max_grad_norm=null")
    folder = Path("runs") / run_id(config.plain())
    folder.mkdir(parents=True)
    for name in ("samples.jsonl", "adapter.safetensors", "mine.txt"):
        (folder / name).write_text("before")
    with pytest.raises(SystemExit):
        experiment.run(config)
    assert {path.name for path in folder.iterdir()} >= {"mine.txt", evidence.FACTS}
    assert not (folder / "samples.jsonl").exists()
    assert not (folder / "adapter.safetensors").exists()


def test_training_goes_on_from_its_own_checkpoints_only(capsys: pytest.CaptureFixture[str]) -> None:
    config = run_config(*SHORT)
    identity = run_id(config.plain())
    folder = Path("runs") / identity / "checkpoints"

    def kept(made_of: str = "these data") -> bool:
        step = folder / "step-00000001.json"
        step.parent.mkdir(parents=True, exist_ok=True)
        step.touch()
        experiment._clear_checkpoints_of_others(config, identity, [made_of])
        return step.exists()

    assert kept()  # nothing is known against it
    assert kept()
    assert not capsys.readouterr().err
    assert not kept("other data")
    assert "or on other data or weights: starting anew" in capsys.readouterr().err
    assert kept("other data")
    finished()
    assert not kept()  # of a run that is over
    assert kept()  # of its repetition, which was interrupted
    finished("force=true", "seed=1")
    assert kept()
    finished("force=true")
    assert not kept()


def test_checkpoints_are_of_the_data_and_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    monkeypatch.setattr(experiment, "_clear_checkpoints_of_others", lambda *told_of: told.append(digest(told_of[2])))
    finished("force=true")
    finished("force=true", "task.sources.mini.train_rows=3")
    backbone = Path("backbone")
    shutil.copytree(resolve_source(run_config().model), backbone)
    finished("force=true", f"model.source=./{backbone}")
    (backbone / "generation_config.json").unlink()
    finished("force=true", f"model.source=./{backbone}")
    assert len(set(told)) == 3
    assert told[0] == told[2]


def test_who_is_turned_away_leaves_the_unfinished_files_of_the_other_alone() -> None:
    config = run_config()
    identity = run_id(config.plain())
    folder = Path("runs") / identity
    with lock.hold(folder):
        (folder / ".samples-1.tmp").touch()
        with pytest.raises(BusyError), experiment.alone(config, identity):
            pass
        assert (folder / ".samples-1.tmp").exists()


def test_random_weights_report_no_score_unless_they_are_the_control() -> None:
    assert finished("model.weights=random")["evaluation"] is None
    assert finished("model=mini_llama_random")["evaluation"] is not None


def test_merged_and_unmerged_evaluation_agree() -> None:
    merged, unmerged = finished(), finished("evaluation.merge=false")
    for subset, score in merged["evaluation"]["scores"].items():
        assert unmerged["evaluation"]["scores"][subset]["value"] == score["value"]
