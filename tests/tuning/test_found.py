"""Values of a finished search in a run: where they are looked for, what they exclude, and what the record says."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from tests.composing import choices, run_config
from wegeft.errors import UserError
from wegeft.planning.runs import planned_runs
from wegeft.records.identity import run_id
from wegeft.tasks import build_task
from wegeft.tuning.config import Searched
from wegeft.tuning.found import Found, Trial, write_found
from wegeft.tuning.origin import origins

RATE = "training.learning_rate"


def search(**changes: Any) -> Found:
    fields: dict[str, Any] = {
        "schema_version": 1,
        "task": "commonsense",
        "scale": "mini",
        "protocol": "clean",
        "recipe": "mini",
        "model": "mini_llama",
        "method": "lora",
        "validation": (),
        "data": {},
        "space": (Searched(key=RATE, values=(5e-3, 6e-3)),),
        "budget": 2,
        "seed": 0,
        "seeds": (0,),
        "before": {RATE: run_config("method=lora").training.learning_rate},
        "best": {RATE: 5e-3},
        "score": 0.5,
        "at_edge": (),
        "trials": (Trial(values={RATE: 5e-3}, score=0.5, run_ids=("0" * 12,)),),
        "command": ("run.py",),
        "provenance": {},
    }
    return Found(**{**fields, **changes})


def test_a_search_is_found_by_the_names_of_the_run() -> None:
    write_found(search(), Path("results/tuned/commonsense/mini-clean/mini_llama/lora.json"))
    config = run_config("method=lora", "tuned=true")
    assert config.training.learning_rate == 5e-3
    assert origins(config)[RATE]["source"] == "tuned"
    (planned,) = planned_runs(["method=lora", "tuned=true"])
    assert planned.run_id == run_id(config.plain())


def test_another_backbone_can_take_the_values_by_the_name_of_the_file() -> None:
    write_found(search(), Path("mine.json"))
    config = run_config("method=lora", "model=mini_llama_random", "tuned=mine.json")
    assert config.training.learning_rate == 5e-3
    assert config.tuned is not None
    assert config.tuned.file == "mine.json"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("method=lora", "tuned=true"), "results/tuned/commonsense/mini-clean/mini_llama/lora.json"),
        (("method=lora", "tuned=nothing.json"), "tuned=nothing.json, which cannot be read"),
        (("method=wegeft", "tuned=mine.json"), "searched for method=lora, not for wegeft"),
        (("method=lora", "tuned=mine.json", f"{RATE}=7e-3"), f"{RATE}=0.007 is set beside tuned=mine.json"),
        (("method=lora", "tuned=broken.json"), "broken.json is not the file of a search"),
    ],
)
def test_what_does_not_fit_is_refused(words: tuple[str, ...], said: str) -> None:
    write_found(search(), Path("mine.json"))
    Path("broken.json").write_text("{}")
    with pytest.raises(UserError, match=said):
        run_config(*words)


def test_runs_without_a_search_keep_their_identity() -> None:
    """The committed record of the main job."""
    words = ("scale=mini", "task=commonsense", "seed=42", "model=mini_llama", "method=wegeft")
    assert run_id(run_config(*words).plain()) == "1a2a59701029"


@pytest.mark.parametrize(
    ("words", "source"),
    [
        (("scale=paper", "task=commonsense"), "published"),
        (("scale=paper", "task=commonsense", f"{RATE}=3e-4"), "own"),
        (("scale=paper", "task=commonsense", "method=red"), "own"),
        (("+experiment=math10k_paper",), "published"),
        (("+experiment=metamath_paper",), "own"),
        (("task=fgvc/cub", "scale=paper"), "published"),
        (("task=fgvc/cub", "scale=paper", "method=lora"), "own"),
        (("task=fgvc/flowers", "scale=paper"), "own"),
        (("task=fgvc/flowers", "scale=paper", f"{RATE}=5e-4"), "published"),
        (("task=fgvc/nabirds", "scale=paper"), "own"),
        (("task=glue/rte", "scale=paper"), "own"),
        ((), "own"),
    ],
)
def test_a_run_says_whether_its_values_are_published(words: tuple[str, ...], source: str) -> None:
    assert origins(run_config(*words))[RATE]["source"] == source


TEXT = ("code", "commonsense", "instruction", "math10k", "metamath")
OTHERS = {task.partition("/")[0]: task for task in choices("task") if task not in TEXT}
"""One task of every kind whose rows are the same at every scale."""


@pytest.mark.parametrize(
    ("task", "scale"), [*itertools.product(TEXT, choices("scale")), *((task, "mini") for task in OTHERS.values())]
)
def test_every_task_composes_with_its_validation_rows_or_states_none(task: str, scale: str) -> None:
    words = (f"task={task}", f"scale={scale}", *(("protocol=clean",) if task in TEXT else ()))
    config = run_config(*words)
    validation = config.tune.validation_words
    if validation is None:
        assert task.startswith(("own/", "wizardlm")) or (task in ("instruction", "code") and scale != "mini")
        return
    trial = run_config(*words, *validation)
    assert run_id(trial.plain()) != run_id(config.plain())
    assert config.tune.budget >= 6
    if scale == "mini" and (task in TEXT or task.startswith("mini_")):
        reported = build_task(config.task).scored_uids(config.protocol)
        chosen_on = build_task(trial.task).scored_uids(trial.protocol)
        assert reported
        assert chosen_on
        assert not reported & chosen_on
