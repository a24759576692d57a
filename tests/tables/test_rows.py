"""Grouping into rows: what belongs together, and what its numbers are."""

import random
import statistics
from typing import Any

import pytest

from tests.records.factory import SUBSETS, make_config, make_record
from wegeft.tables.cells import seeds_text
from wegeft.tables.rows import OurRow, Statistic, differing_settings, make_rows, rows_and_repeats


def _with(value: float, **config: Any) -> dict[str, Any]:
    return make_record(make_config(**config), dict.fromkeys(SUBSETS, value))


def test_seeds_of_one_recipe_are_one_row() -> None:
    (row,) = make_rows([_with(value, seed=seed) for seed, value in ((44, 0.4), (42, 0.2), (43, 0.3))])
    assert row.seeds == (42, 43, 44)
    score = row.score("boolq")
    assert score is not None
    assert score.mean == pytest.approx(0.3)
    assert score.std == pytest.approx(statistics.stdev([0.2, 0.3, 0.4]))
    assert score.n == 3


@pytest.mark.parametrize(
    "other",
    [
        {"method": "dora"},
        {"model": "llama3_8b"},
        {"scale": "paper"},
        {"protocol": "v5"},
        {"task": "math10k"},
        {"learning_rate": 1e-4},
        {"max_steps": 10},
    ],
)
def test_another_setting_is_another_row(other: dict[str, Any]) -> None:
    assert len(make_rows([_with(0.5, seed=42), _with(0.5, seed=43, **other)])) == 2


def test_other_data_is_another_row() -> None:
    changed = _with(0.5, seed=43)
    changed["data"]["hashes"]["boolq/train"] = "f" * 64
    rows = make_rows([_with(0.5, seed=42), changed])
    assert len(rows) == 2
    labels = differing_settings(rows)
    assert sorted(labels.values()) == sorted(f"data={row.key.data[:6]}" for row in rows)


def test_other_weights_are_another_row() -> None:
    records = [_with(0.5, seed=seed) for seed in (42, 43, 44)]
    for record, weights in zip(records[1:], ("e", "f"), strict=True):
        record["backbone"] = {"model.safetensors": weights * 64}
    rows = make_rows(records)
    assert [row.seeds for row in sorted(rows, key=lambda row: row.seeds)] == [(42,), (43,), (44,)]
    labels = {"weights=unknown", *(f"weights={row.key.backbone[:6]}" for row in rows if row.seeds != (42,))}
    assert set(differing_settings(rows).values()) == labels
    assert len(labels) == 3


def test_an_adapter_from_elsewhere_is_another_row_whatever_its_file_is_called() -> None:
    records = [_with(0.9, seed=42)]
    for seed in (42, 43):
        config = make_config(seed=seed) | {"adapter": f"elsewhere/{seed}.safetensors"}
        records.append(make_record(config, dict.fromkeys(SUBSETS, 0.1)))
    rows = sorted(make_rows(records), key=lambda row: len(row.runs))
    assert [row.seeds for row in rows] == [(42,), (42, 43)]
    assert sorted(differing_settings(rows).values()) == ["", "adapter=given"]


def test_a_second_record_of_one_row_and_seed_is_named() -> None:
    records = [make_record(make_config(seed=seed) | {"adapter": name}) for seed, name in ((1, "a"), (1, "b"), (2, "c"))]
    first, second = sorted(record["run_id"] for record in records[:2])
    (row,), repeats = rows_and_repeats(records)
    assert [run["run_id"] for run in row.runs] == [first, records[2]["run_id"]]
    assert [str(problem) for problem in repeats] == [
        f"{second}.json: run {first} has the same recipe, data and seed (1), and the tables show that one."
    ]


def test_where_the_data_lies_makes_no_row() -> None:
    config = make_config(seed=43)
    config["task"]["source"]["root"] = "/elsewhere"
    first = make_config(seed=42)
    first["task"]["source"]["root"] = "/here"
    assert len(make_rows([make_record(first), make_record(config)])) == 1


def test_failed_seeds_stay_visible_and_out_of_the_mean() -> None:
    records = [_with(0.2, seed=42), make_record(make_config(seed=43), status="diverged"), _with(0.4, seed=44)]
    (row,) = make_rows(records)
    assert row.seeds == (42, 43, 44)
    assert [run["config"]["seed"] for run in row.broken] == [43]
    assert row.mean is not None
    assert row.mean.mean == pytest.approx(0.3)
    assert row.mean.n == 2


def test_a_row_of_failures_has_no_score() -> None:
    (row,) = make_rows([make_record(make_config(), status="failed")])
    assert row.mean is None
    assert row.score("boolq") is None
    assert row.chance(SUBSETS) is None


def test_one_seed_has_no_deviation() -> None:
    assert Statistic.of([0.5]) == Statistic(0.5, None, 1)
    assert Statistic.of([]) is None


def test_settings_that_differ_are_named() -> None:
    rows = make_rows([_with(0.5), _with(0.5, learning_rate=1e-4), _with(0.5, warmup_ratio=0.1)])
    labels = set(differing_settings(rows).values())
    assert labels == {
        "training.learning_rate=0.002",
        "training.learning_rate=0.0001",
        "training.learning_rate=0.002 training.warmup_ratio=0.1",
    }


def test_code_of_every_part_counts() -> None:
    clean, part, evaluation = (make_record(make_config(seed=seed)) for seed in (42, 43, 44))
    uncommitted = make_record(dirty=True)["provenance"]
    part["training"]["parts"] = [{"from_step": step, "provenance": part["provenance"]} for step in (0, 5)]
    part["training"]["parts"][0]["provenance"] = uncommitted
    evaluation["evaluation"]["provenance"] = uncommitted
    (row,) = make_rows([clean, part, evaluation])
    assert row.dirty == 2


def test_dirty_and_unknown_code_counts() -> None:
    unknown = make_record(make_config(seed=44))
    unknown["provenance"]["git"] = None
    records = [make_record(make_config(seed=42)), make_record(make_config(seed=43), dirty=True), unknown]
    (row,) = make_rows(records)
    assert row.dirty == 2


def test_fewer_rows_than_published_is_partial() -> None:
    def row(train: int, test: int, accepted: int | None = None) -> OurRow:
        record = make_record()
        record["config"]["task"]["accept"] = {"below_tokens": 512, "rows": accepted}
        record["data"]["expected_rows"] = {"boolq/train": train, "boolq/test": test}
        return make_rows([record])[0]

    # The factory trains on 4,000 rows and scores 500 of each set.
    assert not row(4000, 500).partial
    assert row(4001, 500).partial
    assert row(4000, 501).partial
    assert not row(9000, 500, 4000).partial
    assert row(9000, 500, 4001).partial
    limited = make_record()
    limited["evaluation"]["scores"]["boolq"]["n"] = 20
    assert make_rows([limited])[0].partial


def test_half_of_a_test_set_is_whole_where_the_protocol_reports_that_half() -> None:
    def row(n: int, present: int = 500, published: int = 500) -> OurRow:
        record = make_record(values={"rte": 0.5})
        record["evaluation"]["scores"]["rte"]["n"] = n
        record["data"] |= {
            "test_examples": {"rte": present},
            "expected_rows": {"rte/test": published},
            "remarks": {"reported_rows": {"rte": 240}},
        }
        return make_rows([record])[0]

    assert not row(240).partial
    assert row(240).rankable
    assert row(239).partial
    assert row(239).limited
    assert row(240, published=501).partial


def test_order_does_not_matter() -> None:
    records = [_with(0.5, seed=seed, method=method) for seed in range(4) for method in ("lora", "dora")]
    expected = make_rows(records)
    for turn in range(5):
        random.Random(turn).shuffle(records)
        assert make_rows(records) == expected


def test_a_seed_that_got_worse_in_training_is_named() -> None:
    records = [_with(0.5, seed=seed) for seed in (42, 43, 44)]
    records[1]["training"]["diverging"] = True
    records[2]["training"]["diverging"] = False
    (row,) = make_rows(records)
    assert seeds_text(row) == "3 (43 got worse in training)"


def test_rows_of_different_sets_are_told_apart_by_the_set() -> None:
    records = []
    for subset, width in (("birds", 20), ("cars", 196)):
        config = make_config(task="own")
        config["task"] |= {"subset": subset, "classes": width}
        records.append(make_record(config, {subset: 0.5}))
    assert set(differing_settings(make_rows(records)).values()) == {"birds", "cars"}
