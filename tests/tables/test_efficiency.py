"""Cost ratios: right numbers, one machine, and the published figure beside ours."""

import copy
from typing import Any

import pytest

from tests.records.factory import make_config, make_record
from tests.tables.world import PAPER
from wegeft.errors import UserError
from wegeft.tables.efficiency import efficiency_tables, load_efficiency
from wegeft.tables.rows import make_rows
from wegeft.tables.table import Table
from wegeft.tables.write import RATIO_DEFINITIONS

DEFINITION = load_efficiency(RATIO_DEFINITIONS / "efficiency.yaml")


def _record(
    method: str, trainable: int, seconds: float, memory: int, cpu: str = "A", seed: int = 42, **training: Any
) -> dict[str, Any]:
    config = make_config(method, seed, **training)
    record = make_record(config, {"boolq": 0.5 if method == "lora" else 0.4}, trainable=trainable)
    record["training"] |= {"seconds": seconds, "tokens": 1000, "peak_memory_bytes": memory}
    record["provenance"]["hardware"]["cpu"] = cpu
    return record


def _texts(table: Table, label: str) -> dict[str, str]:
    (row,) = [row for block in table.blocks for row in block.rows if row.label == label]
    return {heading.text: cell.text for heading, cell in zip(table.headings, row.cells, strict=True)}


def _mini(*records: dict[str, Any]) -> Table:
    return efficiency_tables(DEFINITION, make_rows(records), PAPER)[0]


def test_ratios_to_the_baseline() -> None:
    table = _mini(_record("lora", 2000, 10.0, 2**30), _record("wegeft", 500, 15.0, 3 * 2**29))
    texts = _texts(table, "wegeft")
    assert texts["parameters ×"] == "0.250"
    assert texts["memory ×"] == "1.500"
    assert texts["time ×"] == "1.500"
    assert texts["accuracy ×"] == "0.800"
    assert texts["tokens per second"] == "67"
    assert _texts(table, "lora")["time ×"] == "1.000"


def test_other_hardware_has_no_ratio_of_time_or_memory() -> None:
    table = _mini(_record("lora", 2000, 10.0, 2**30), _record("wegeft", 500, 15.0, 2**30, cpu="B"))
    texts = _texts(table, "wegeft")
    assert (texts["memory ×"], texts["time ×"]) == ("", "")
    assert texts["parameters ×"] == "0.250"


def test_costs_of_different_machines_are_not_averaged() -> None:
    """Those on the baseline's machine count where there are any, else those on the machine of most seeds."""
    lora = [_record("lora", 2000, 10.0, 2**30, "A", seed) for seed in (1, 2)]
    lora.append(_record("lora", 2000, 1000.0, 2**34, "B", 3))
    wegeft = [_record("wegeft", 500, 900.0, 2**33, "B", seed) for seed in (1, 2)]
    wegeft.append(_record("wegeft", 500, 15.0, 2**29, "A", 3))
    red = [_record("red", 50, 40.0, 2**32, cpu, seed) for seed, cpu in ((1, "B"), (2, "C"), (3, "C"))]
    red[0]["training"]["seconds"] = 400.0
    table = _mini(*lora, *wegeft, *red)
    texts = {name: _texts(table, name) for name in ("lora", "wegeft", "red")}
    assert [texts[name]["tokens per second"] for name in texts] == ["100", "67", "25"]
    assert [texts[name]["hardware"] for name in texts] == [f"{cpu}, threads: 2" for cpu in "AAC"]
    assert [texts[name]["time ×"] for name in texts] == ["1.000", "1.500", ""]
    assert texts["wegeft"]["memory ×"] == "0.500"


def test_a_training_that_moved_to_another_machine_says_nothing_about_either() -> None:
    moved = _record("wegeft", 500, 999.0, 2**33, "A", 1)
    before = copy.deepcopy(moved["provenance"])
    before["hardware"]["cpu"] = "B"
    moved["training"]["parts"] = [
        {"from_step": 0, "provenance": before},
        {"from_step": 5, "provenance": moved["provenance"]},
    ]
    whole = _record("wegeft", 500, 15.0, 2**29, "A", 2)
    texts = _texts(_mini(_record("lora", 2000, 10.0, 2**30, "A"), moved, whole), "wegeft")
    assert (texts["time ×"], texts["memory ×"]) == ("1.500", "0.500")
    assert texts["time ×"] != _texts(_mini(_record("lora", 2000, 10.0, 2**30, "A"), moved), "wegeft")["time ×"] == ""


def test_a_row_scored_on_a_part_of_its_test_sets_is_left_out() -> None:
    trials = [_record("wegeft", 500, 15.0, 2**30, seed=seed, warmup_ratio=0.1) for seed in (1, 2)]
    for record in trials:
        record["evaluation"]["scores"]["boolq"] |= {"n": 5, "value": 1.0}
        record["evaluation"]["mean"] = 1.0
    table = _mini(_record("lora", 2000, 10.0, 2**30), _record("wegeft", 500, 15.0, 2**30), *trials)
    assert _texts(table, "wegeft")["accuracy ×"] == "0.800"


def test_what_makes_a_number_doubtful_is_said_beside_it() -> None:
    records = [_record("lora", 2000, 10.0, 2**30, seed=seed) for seed in (1, 2)]
    records.append(make_record(make_config("lora", 3), status="diverged"))
    records.append(_record("wegeft", 500, 10.0, 2**30))
    records[-1]["data"]["expected_rows"] = {"boolq/train": 10**6}
    table = _mini(*records)
    assert [row.label for row in table.blocks[0].rows] == ["lora (2 of 3 seeds)", "wegeft ‡"]


def test_without_a_baseline_there_are_no_ratios() -> None:
    texts = _texts(_mini(_record("wegeft", 500, 15.0, 2**30)), "wegeft")
    assert texts["parameters ×"] == ""
    assert texts["parameters"] == "500"


def test_the_published_figure_is_there() -> None:
    table = efficiency_tables(DEFINITION, [], PAPER)[1]
    assert _texts(table, "VeRA")["time ×"] == "20.95"
    assert {row.kind for block in table.blocks for row in block.rows} == {"own"}


def test_a_broken_definition_names_its_file(tmp_path: Any) -> None:
    (tmp_path / "x.yaml").write_text("name: x")
    with pytest.raises(UserError, match=r"x\.yaml: baseline is missing"):
        load_efficiency(tmp_path / "x.yaml")
