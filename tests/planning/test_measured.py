"""What records tell about a machine: only what that machine did."""

import copy
from typing import Any

import pytest

from tests.composing import run_config
from tests.records.factory import make_record
from wegeft.planning.measured import observation, step_recipe


def elsewhere(record: dict[str, Any]) -> dict[str, Any]:
    """The provenance of ``record``, from another processor."""
    provenance: dict[str, Any] = copy.deepcopy(record["provenance"])
    provenance["hardware"]["cpu"] = "another"
    return provenance


def test_seconds_that_another_machine_spent_are_not_this_ones() -> None:
    record = make_record()
    whole = observation(record, "recipe")
    assert (whole.seconds, whole.answer_seconds) == (record["training"]["seconds"], record["evaluation"]["seconds"])
    here = {"from_step": 0, "provenance": record["provenance"]}
    record["training"]["parts"] = [here, {**here, "from_step": 5}]
    assert observation(record, "recipe") == whole
    record["training"]["parts"] = [{"from_step": 0, "provenance": elsewhere(record)}, {**here, "from_step": 5}]
    apart = observation(record, "recipe")
    assert (apart.seconds, apart.answer_seconds) == (0.0, whole.answer_seconds)
    record["evaluation"]["provenance"] = elsewhere(record)
    assert observation(record, "recipe").answer_seconds == 0.0


@pytest.mark.parametrize(
    "words",
    [
        ("training.compile=true",),
        ("protocol.max_length=64",),
        ("model.architecture={num_hidden_layers: 2}",),
        ("task=glue/rte", "model=roberta_base"),
    ],
    ids=lambda words: words[0],
)
def test_what_decides_the_cost_of_a_step(words: tuple[str, ...]) -> None:
    other = {"task=glue/rte": ("task=glue/cola", "model=roberta_base")}.get(words[0], ())
    root = "data.root=/nowhere"
    assert step_recipe(run_config(*words, root).plain()) != step_recipe(run_config(*other, root).plain())


def test_the_masters_decide_the_cost_of_a_step() -> None:
    with_them, without = (run_config(f"training.fp32_masters={masters}").plain() for masters in (True, False))
    assert step_recipe(with_them) != step_recipe(without)
    del with_them["training"]["fp32_masters"]  # as in older records
    assert step_recipe(with_them) == step_recipe(run_config().plain())
