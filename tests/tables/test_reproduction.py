"""Verdicts: the stated rule, and which published cell is set against which row."""

import math
from typing import Any

import numpy as np
import pytest

from tests.records.factory import SUBSETS, make_config, make_record
from tests.tables.world import PAPER
from wegeft.tables.build import Family, build_tables
from wegeft.tables.definition import DEFINITIONS, load_definition
from wegeft.tables.reproduction import Check, Verdict, interval, reproduction_table
from wegeft.tables.rows import make_rows


def _check(low: float, high: float, seeds: int = 3) -> Check:
    return Check("s", "b", "r", "c", 80.0, 80.0 + (low + high) / 2, seeds, low, high)


@pytest.mark.parametrize(
    ("low", "high", "seeds", "verdict"),
    [
        (-0.5, 0.5, 3, "reproduced"),
        (0.1, 0.9, 3, "reproduced"),
        (-1.0, 1.0, 3, "reproduced"),
        (-3.0, -0.1, 3, "below"),
        (0.1, 3.0, 3, "above"),
        (-1.5, 0.5, 3, "undecided"),
        (-0.5, 0.5, 1, "n too small"),
    ],
)
def test_the_rule(low: float, high: float, seeds: int, verdict: Verdict) -> None:
    assert _check(low, high, seeds).verdict == verdict


def test_the_interval_covers_what_it_says() -> None:
    generator = np.random.default_rng(0)
    trials, covered = 2000, 0
    for _ in range(trials):
        seeds = generator.normal(0, 1.0, 3)
        offset = generator.normal(0, 0.6)
        low, high = interval(float(seeds.mean() + offset), float(seeds.std(ddof=1)) / math.sqrt(3), 0.6, 3)
        covered += low <= 0 <= high
    assert 0.94 <= covered / trials <= 0.99


def test_degenerate_intervals() -> None:
    assert interval(1.0, 0.5, 0.5, 1) == (-math.inf, math.inf)
    assert interval(1.0, 0.0, 0.0, 3) == (1.0, 1.0)
    low, high = interval(0.0, 0.0, 1.0, 3)
    assert (low, high) == pytest.approx((-1.96, 1.96), abs=0.01)


def _family(*values: float, **settings: Any) -> Family:
    """WeGeFT (QV r=64) of the third version on Llama 3, one seed per value."""
    records = []
    for seed, value in enumerate(values):
        config = make_config("wegeft", seed, "llama3_8b", "paper", "v3")
        config["method"] |= {"r": 64, "target_modules": ["q_proj", "v_proj"], **settings}
        records.append(make_record(config, dict.fromkeys(SUBSETS, value)))
    return build_tables(load_definition(DEFINITIONS / "commonsense.yaml"), make_rows(records), PAPER)


def test_a_row_is_set_against_its_own_published_row() -> None:
    family = _family(0.86, 0.87, 0.88)
    checks = {check.column: check for check in family.checks}
    assert len(checks) == 9
    assert checks["mean"].published == 86.7
    assert checks["mean"].difference == pytest.approx(0.3)
    assert checks["BoolQ"].published == 74.7
    assert checks["BoolQ"].verdict == "above"
    assert {check.backbone for check in family.checks} == {"Llama 3 8B"}
    # Nine rows of nine cells are published; one row is run.
    assert family.not_run == 72


def test_another_recipe_is_set_against_nothing() -> None:
    assert _family(0.86, 0.87, r=32).checks == ()
    assert _family().not_run == 81


def test_the_summary_counts_every_verdict() -> None:
    checks = [_check(-0.5, 0.5), _check(-3, -1), _check(-3, -1), _check(0, 0, 1)]
    table = reproduction_table(checks, 7)
    assert table.about == (
        "reproduced: 1",
        "below: 2",
        "above: 0",
        "undecided: 0",
        "n too small: 1",
        "not run: 7",
    )
    assert len(table.blocks[0].rows) == 4


def _glue(*errors: float | None) -> dict[str, Check]:
    """WeGeFT on RoBERTa base, a seed per error of its CoLA score."""
    records = []
    for seed, error in enumerate(errors):
        config = make_config("wegeft", seed, "roberta_base", "paper", "glue_v3", task="glue")
        config["task"]["subset"] = "cola"
        config["method"]["r"] = 32
        record = make_record(config, {"cola": 0.6})
        record["evaluation"]["scores"]["cola"]["stderr"] = error
        record["data"]["test_examples"] = {"cola": 500}
        records.append(record)
    family = build_tables(load_definition(DEFINITIONS / "glue.yaml"), make_rows(records), PAPER)
    return {check.column: check for check in family.checks}


def test_an_error_that_is_not_known_is_not_zero() -> None:
    check = _glue(0.02, None)["CoLA"]
    assert (check.low, check.high) == (-math.inf, math.inf)
    assert check.verdict == "undecided"


def test_the_test_set_error_is_that_of_all_seeds() -> None:
    check = _glue(0.01, 0.03)["CoLA"]
    half = 1.96 * math.sqrt(2 * (0.01**2 + 0.03**2) / 2) * 100
    assert (check.high - check.low) / 2 == pytest.approx(half, rel=1e-3)


def test_a_trial_on_a_few_questions_reproduces_nothing() -> None:
    records = []
    for seed in (42, 43):
        config = make_config("wegeft", seed, "llama3_8b", "paper", "v3")
        config["method"] |= {"r": 64, "target_modules": ["q_proj", "v_proj"]}
        record = make_record(config)
        record["evaluation"]["scores"]["boolq"]["n"] = 20
        records.append(record)
    family = build_tables(load_definition(DEFINITIONS / "commonsense.yaml"), make_rows(records), PAPER)
    assert family.checks == ()
    assert family.not_run == 81


def test_what_makes_a_number_doubtful_is_said_beside_its_verdict() -> None:
    records = []
    for seed, status in ((42, "finished"), (43, "finished"), (44, "diverged")):
        config = make_config("wegeft", seed, "llama3_8b", "paper", "v3")
        config["method"] |= {"r": 64, "target_modules": ["q_proj", "v_proj"]}
        records.append(make_record(config, status=status, dirty=seed == 43))
    family = build_tables(load_definition(DEFINITIONS / "commonsense.yaml"), make_rows(records), PAPER)
    (block,) = reproduction_table(family.checks, family.not_run).blocks
    assert {row.label.partition(" †")[1] for row in block.rows} == {" †"}
    assert {row.cells[5].text for row in block.rows} == {"2 of 3"}
