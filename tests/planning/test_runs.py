"""Plans of sweeps and tables: what exists, what is missing, what it costs."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.composing import run_config
from tests.records.factory import make_record
from wegeft import models
from wegeft.errors import UserError
from wegeft.planning.attached import attached
from wegeft.planning.costs import Costs, Subject
from wegeft.planning.estimate import Lengths, step_work
from wegeft.planning.measured import observations
from wegeft.planning.runs import PlannedRun, planned_runs
from wegeft.planning.show import describe
from wegeft.planning.tables import runs_of_table
from wegeft.planning.workload import workload
from wegeft.records import write_record
from wegeft.tables.definition import known_tasks, load_definitions
from wegeft.training import adapter_file, checkpoint
from wegeft.training.masters import Masters
from wegeft.training.result import TrainingResult


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> Costs:
    return Costs(tmp_path_factory.mktemp("costs"))


def record_of(*words: str, seconds: float = 50.0, **training: Any) -> dict[str, Any]:
    """A record of the run of ``words``, as if it had been made."""
    record = make_record(run_config(*words).plain())
    record["training"] |= {"steps": 250, "seconds": seconds, "tokens": 200_000, "label_tokens": 26_000} | training
    return record


def test_existing_and_missing_runs(tmp_path: Path, costs: Costs) -> None:
    records = f"records_dir={tmp_path}"
    write_record(record_of("method=lora", "seed=1"), tmp_path)
    runs = planned_runs(["-m", "mode=plan", "method=lora,red", "seed=1,2", records], costs)
    assert [(run.config.method["name"], run.config.seed, run.exists) for run in runs] == [
        ("lora", 1, True),
        ("lora", 2, False),
        ("red", 1, False),
        ("red", 2, False),
    ]
    assert runs[1].command == f"python run.py method=lora seed=2 {records}"
    assert not any(run.exists for run in planned_runs(["method=lora", "seed=1", records, "force=true"], costs))


def test_measured_where_a_run_of_the_kind_was_and_fitted_elsewhere(tmp_path: Path, costs: Costs) -> None:
    counted = step_work(costs, Subject.of_config(run_config("method=lora")), Lengths(50, 6.5, 60))
    assert counted is not None
    work = {**asdict(counted.step), "tensor_bytes": counted.memory}
    write_record(record_of("method=lora", "seed=1", seconds=50.0, work=work), tmp_path)
    write_record(record_of("method=lora", "seed=2", seconds=60.0), tmp_path)  # made before records held the work
    lora, red = planned_runs(["method=lora,red", "seed=3", f"records_dir={tmp_path}"], costs)
    assert lora.estimate.basis == "measured in 2 runs"
    assert lora.estimate.train_seconds == pytest.approx(55.0)
    assert lora.estimate.memory == 2**30
    assert red.estimate.basis == "modelled, fitted to 1 kinds of run"
    assert red.estimate.train_seconds is not None
    assert 10 < red.estimate.train_seconds < 55
    assert red.estimate.workload.basis == "measured"


def test_work_of_a_record_is_preferred_to_counting_again(tmp_path: Path, costs: Costs) -> None:
    work = {"flops": 1e9, "product_bytes": 1e6, "bytes": 1e6, "kernels": 10.0, "tensor_bytes": 1e6}
    write_record(record_of("method=lora", "seed=1", work=work), tmp_path)
    (red,) = planned_runs(["method=red", f"records_dir={tmp_path}"], costs)
    assert red.estimate.train_seconds is not None
    assert red.estimate.train_seconds > 60


def test_no_records_and_a_named_machine(tmp_path: Path, costs: Costs) -> None:
    words = ["scale=paper", "model=llama3_8b", "method=wegeft,none", f"records_dir={tmp_path}", "plan.hardware=a100"]
    wegeft, none = planned_runs(words, costs)
    estimate = wegeft.estimate
    counts: Any = estimate.architecture.counts
    assert (counts["trainable"], counts["backbone"]) == (3_932_160, 8_030_261_248)
    assert estimate.steps == 31_956  # ceil(170,420 / 16) × 3
    assert estimate.machine == "a100"
    assert estimate.basis == "modelled, rates assumed"
    assert estimate.hours is not None
    assert 5 < estimate.hours < 100
    assert estimate.memory is not None
    assert 16e9 < estimate.memory < 80e9
    assert estimate.checkpoint_bytes == 3 * 3 * 4 * 3_932_160  # a third one is written before the oldest goes
    assert (none.estimate.steps, none.estimate.train_seconds, none.estimate.tokens) == (0, 0.0, 0.0)
    assert "plan.hardware" not in wegeft.command


@pytest.mark.parametrize("masters", [True, False])
def test_training_a_bf16_backbone_takes_what_the_plan_says(tmp_path: Path, costs: Costs, masters: bool) -> None:
    words = ["method=full", "model.dtype=bfloat16", f"training.fp32_masters={masters}", "training.batch_size=1"]
    config = run_config(*words)
    backbone = models.load(config.model, torch.device("cpu")).model
    with attached(config.method, config.model.head_modules, backbone) as method:
        parameters = method.trainable()
        alive = Masters(parameters, masters)
        for parameter in parameters.values():
            parameter.grad = torch.zeros_like(parameter)
        alive.take_gradients()
        optimizer = torch.optim.AdamW(alive.values.values())
        optimizer.step()
        checkpoint.save(tmp_path / "checkpoints", alive.values, optimizer, TrainingResult())
        adapter_file.save(method, tmp_path / adapter_file.NAME)
    held = [*parameters.values(), *alive.copies.values()]
    moments = [value for state in optimizer.state.values() for value in state.values() if value.ndim]
    taken = sum(one.nbytes for one in (*held, *(one.grad for one in held if one.grad is not None), *moments))
    assert taken == (20 if masters else 8) * sum(one.numel() for one in parameters.values())

    step = step_work(costs, Subject.of_config(config), Lengths(1, 1, 1))
    assert step is not None
    assert step.memory == taken + sum(one.nbytes for one in moments) / 2
    (run,) = planned_runs([*words, "evaluation.limit=1", f"records_dir={tmp_path}"], costs)
    (written,) = (tmp_path / "checkpoints").glob("*.safetensors")
    assert run.estimate.checkpoint_bytes / 3 == pytest.approx(written.stat().st_size, rel=0.01)
    assert run.estimate.kept_bytes == pytest.approx((tmp_path / adapter_file.NAME).stat().st_size, rel=0.01)


def test_checkpointing_costs_time_and_saves_memory(tmp_path: Path, costs: Costs) -> None:
    words = ["scale=paper", "model=llama3_8b", f"records_dir={tmp_path}"]
    (with_it,) = (run.estimate for run in planned_runs(words, costs))
    (without,) = (run.estimate for run in planned_runs([*words, "training.gradient_checkpointing=false"], costs))
    assert with_it.memory is not None
    assert without.memory is not None
    assert with_it.memory < 0.6 * without.memory
    assert with_it.hours is not None
    assert without.hours is not None
    assert with_it.hours > 1.2 * without.hours


def test_runs_of_one_sweep_that_differ_in_cost_are_estimated_apart(tmp_path: Path, costs: Costs) -> None:
    words = ["method=lora", f"records_dir={tmp_path}"]
    pretrained, random = planned_runs([*words, "model.weights=pretrained,random"], costs)
    assert pretrained.estimate.eval_seconds
    assert random.estimate.eval_seconds == 0  # untrained weights are never asked
    short, long = planned_runs([*words, "protocol.max_length=32,256"], costs)
    assert (short.estimate.tokens or 0) < (long.estimate.tokens or 0)


def test_lengths_are_those_of_the_same_set() -> None:
    words = ("model=roberta_base", "data.root=/nowhere", "method=lora")
    seen = observations([record_of(*words, "task=glue/rte")])
    assert workload(run_config(*words, "task=glue/rte", "seed=1"), seen).basis == "measured"
    assert workload(run_config(*words, "task=glue/cola"), seen).basis == "at most"


def test_hours_that_leave_something_out_are_no_hours_or_say_so(tmp_path: Path, costs: Costs) -> None:
    records = f"records_dir={tmp_path}"
    (run,) = planned_runs([records], costs)
    assert run.estimate.hours is not None
    assert not run.estimate.is_partial
    assert replace(run.estimate, train_seconds=None).hours is None
    alone = replace(run.estimate, eval_seconds=None)
    assert alone.hours == (alone.train_seconds or 0) / 3600
    assert alone.is_partial
    words = ("task=mini_acceptability", "model=mini_llama_classifier", "training.max_steps=5", records)
    assert str(describe(run_config(*words))["machine hours"]).endswith(", training alone")


def test_every_run_counts_once(tmp_path: Path, costs: Costs) -> None:
    runs = planned_runs(["seed=1,1,2", f"records_dir={tmp_path}"], costs)
    assert [run.config.seed for run in runs] == [1, 2]


def test_every_table_of_a_task_that_exists_has_runs_that_compose() -> None:
    """One run of each kind; tests/test_config.py composes every task."""
    for definition in load_definitions():
        if definition.task in known_tasks() and definition.sections:
            runs = runs_of_table(definition.name, [f"seed={definition.seeds[0]}"])
            kinds = {tuple(word for word in run if not word.startswith("task=")): run for run in runs}
            for run in kinds.values():
                assert f"model={run_config(*run).model.name}" in run


def test_a_table_can_be_narrowed_down() -> None:
    words = ["scale=mini", "method=lora,red", "seed=42", "data.root=/somewhere"]
    assert runs_of_table("commonsense", words) == [
        (*(f"method={method}", "task=commonsense", "scale=mini", "model=mini_llama", "protocol=clean"), *more)
        for more in [("data.root=/somewhere", "seed=42")]
        for method in ("lora", "red")
    ]
    with pytest.raises(UserError, match="table=commonsense has no runs with method=ia3"):
        planned_runs(["table=commonsense", "method=ia3"])
    with pytest.raises(UserError, match=r"table=commonsens is not known \(did you mean commonsense\?\)"):
        planned_runs(["table=commonsens"])


def test_a_plan_is_shown_in_full(tmp_path: Path, costs: Costs) -> None:
    (run,) = planned_runs([f"records_dir={tmp_path}"], costs)
    shown = describe(run.config)
    assert shown["trainable parameters"] == 28_672
    assert shown["record"] == "missing"
    assert json.dumps(shown)
    assert isinstance(run, PlannedRun)
    assert asdict(run.estimate.workload)["questions"] == 800
    assert asdict(run.estimate.workload)["answers"] == 1600  # free, and with the listed answers alone
    (sampled,) = planned_runs(["task=code", "+experiment=code_paper", f"records_dir={tmp_path}"], costs)
    assert sampled.estimate.workload.answers == (5 + 1) * (164 + 974)  # five draws and a greedy one


def test_records_of_a_backbone_that_is_not_here_do_not_stop_a_plan(tmp_path: Path, costs: Costs) -> None:
    """They were made where the folder is, by a version that did not yet keep the work of a step."""
    elsewhere = record_of("method=lora", "seed=1")
    elsewhere["config"]["model"] |= {"name": "local_llama", "source": "/nowhere", "architecture": None}
    write_record(elsewhere, tmp_path)
    (run,) = planned_runs(["method=red", f"records_dir={tmp_path}"], costs)
    assert run.estimate.basis == "modelled, rates assumed"
