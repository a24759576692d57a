"""Families whose every subset is a task of its own."""

from typing import Any

from tests.records.factory import make_config, make_record
from tests.tables.world import PAPER
from wegeft.tables.build import build_tables
from wegeft.tables.cells import facts_of_our_row, seeds_text
from wegeft.tables.definition import Definition, load_definitions
from wegeft.tables.joined import join
from wegeft.tables.rows import OurRow, make_rows
from wegeft.tables.undeclared import undeclared

SUBSETS = ("sst2", "mrpc", "cola", "qnli", "rte", "stsb")


def run_on(subset: str, seed: int, value: float, status: str = "finished", **training: Any) -> dict[str, Any]:
    config = make_config("wegeft", seed, "roberta_base", "paper", "glue_v3", task="glue", **training)
    config["task"]["subset"] = subset
    config["method"]["r"] = 32
    record = make_record(config, {subset: value}, status)
    record["data"]["test_examples"] = {subset: 500}
    record["data"]["hashes"] = {f"{subset}/test": subset[0].encode().hex().rjust(64, "0")}
    return record


def rows(*left_out: tuple[str, int], **more: Any) -> list[OurRow]:
    records = [
        run_on(subset, seed, 0.5 + number / 10, learning_rate=10.0 ** -(number + 2), **more)
        for number, subset in enumerate(SUBSETS[:5])
        for seed in (42, 43)
        if (subset, seed) not in left_out
    ]
    return make_rows([*records, *(run_on("stsb", seed, 0.9) for seed in (42, 43))])


def glue() -> Definition:
    return next(one for one in load_definitions() if one.name == "glue")


def test_one_row_with_a_run_per_seed() -> None:
    (row,) = join(rows(), SUBSETS)
    assert row.seeds == (42, 43)
    assert row.mean is not None
    assert round(row.mean.mean, 6) == round((0.5 + 0.6 + 0.7 + 0.8 + 0.9 + 0.9) / 6, 6)
    assert len(row.parts) == 6
    score = row.score("cola")
    assert score is not None
    assert score.mean == 0.7


def test_a_seed_that_lacks_a_subset_has_no_mean() -> None:
    (row,) = join(rows(("rte", 43)), SUBSETS)
    assert row.mean is not None
    assert row.mean.n == 1
    assert row.seeds_of("rte") == (42,)


def test_a_seed_that_failed_on_one_subset_failed() -> None:
    records = [run_on(subset, 42, 0.5, "diverged" if subset == "rte" else "finished") for subset in SUBSETS]
    (row,) = join(make_rows(records), SUBSETS)
    assert [run["status"] for run in row.broken] == ["diverged"]
    assert row.mean is None


def test_two_learning_rates_on_one_subset_stay_apart() -> None:
    records = [run_on("cola", 42, 0.5, learning_rate=rate) for rate in (1e-3, 1e-4)]
    found = join(make_rows([*records, run_on("rte", 42, 0.5)]), SUBSETS)
    assert len(found) == 3
    assert all(row.mean is None for row in found)


def test_adapters_that_were_given_have_no_command_for_other_seeds() -> None:
    records = [run_on(subset, 42, 0.5) for subset in SUBSETS]
    for record in records:
        record["config"]["adapter"] = "elsewhere/adapter.safetensors"
    table = build_tables(glue(), make_rows(records), PAPER).tables[0]
    assert not any("method=wegeft " in line and "model=roberta_base " in line for line in table.commands)


def test_the_table_shows_one_row_and_asks_for_what_it_lacks() -> None:
    table = build_tables(glue(), rows(("rte", 43)), PAPER).tables[0]
    ours = [row for block in table.blocks for row in block.rows if row.kind == "ours"]
    assert len(ours) == 1
    assert any("task=glue/rte" in line and line.endswith("seed=43,44,45,46") for line in table.commands)
    assert any("task=glue/cola" in line and line.endswith("seed=44,45,46") for line in table.commands)


def test_a_table_without_runs_asks_for_all_subsets_at_once() -> None:
    table = build_tables(glue(), [], PAPER).tables[0]
    assert all(line.startswith("python run.py -m ") for line in table.commands)
    assert any("task=glue/sst2,glue/mrpc,glue/cola,glue/qnli,glue/rte,glue/stsb" in line for line in table.commands)


def test_a_row_counts_the_uncommitted_code_of_every_subset() -> None:
    records = [run_on(subset, 42, 0.5) for subset in SUBSETS]
    records[-1]["provenance"]["git"]["dirty"] = True
    (row,) = join(make_rows(records), SUBSETS)
    assert row.dirty == 1


def test_runs_on_validation_rows_are_no_results() -> None:
    """Neither a score, nor a diverged seed of a search, nor its rows count among those of the test sets."""
    results = [run_on(subset, 42, 0.5) for subset in SUBSETS]
    chosen_on = [run_on("rte", 42, 0.9), run_on("cola", 42, 0.1, "diverged")]
    for run in chosen_on:
        run["config"]["task"]["test_split"] = "val"
        run["data"] |= {"test_examples": {}, "hashes": {"rte/val": "e" * 64}}
        if run["evaluation"]:
            run["evaluation"]["scores"] = {"rte/val": run["evaluation"]["scores"]["rte"]}
    rows = make_rows([*results, *chosen_on])
    table = build_tables(glue(), rows, PAPER).tables[0]
    (ours,) = [row for block in table.blocks for row in block.rows if row.kind == "ours"]
    assert ours.cells[-1].text == "1"
    assert set(ours.facts["run_ids"].split()) == {run["run_id"] for run in results}
    (plain,) = undeclared(load_definitions(), rows)
    table = build_tables(plain, rows, PAPER).tables[0]
    assert (table.name, table.title) == ("glue_validation_paper_glue_v3", "glue, on validation rows: no results")
    assert sum(row.kind == "ours" for block in table.blocks for row in block.rows) == 2


def test_seeds_count_where_every_set_is_there() -> None:
    (row,) = join(rows(("rte", 43)), SUBSETS)
    assert seeds_text(row) == "1 of 2 (43 on some of the sets)"
    facts = facts_of_our_row(row)
    assert facts["finished_seeds"] == "42"
    assert len(facts["run_ids"].split()) == 11


def test_training_and_code_of_every_set_count() -> None:
    records = [run_on(subset, 42, 0.5) for subset in SUBSETS]
    records[3]["training"]["diverging"] = True
    records[4]["provenance"]["git"]["commit"] = "f" * 40
    (row,) = join(make_rows(records), SUBSETS)
    assert seeds_text(row) == "1 (42 got worse in training)"
    assert facts_of_our_row(row)["commits"] == f"{'0' * 40} {'f' * 40}"
    assert row.runs[0]["training"] is None
    assert "provenance" not in row.runs[0]


def test_one_set_with_fewer_rows_makes_the_whole_row_partial() -> None:
    """Rows that one set has too few of are not made up for by the rows of another."""
    records = [run_on(subset, 42, 0.5) for subset in SUBSETS]
    for record in records:
        record["data"]["expected_rows"] = {f"{next(iter(record['data']['test_examples']))}/train": 4000}
    records[0]["data"]["train_examples"] = 3000
    records[1]["data"]["train_examples"] = 5000
    (row,) = join(make_rows(records), SUBSETS)
    assert row.partial


def test_one_set_scored_on_a_part_of_its_rows_keeps_the_whole_row_out_of_contests() -> None:
    records = [run_on(subset, 42, 0.5) for subset in SUBSETS]
    for record, subset in zip(records, SUBSETS, strict=True):
        record["data"]["remarks"]["reported_rows"] = {subset: 500}
    (row,) = join(make_rows(records), SUBSETS)
    assert row.rankable
    records[0]["evaluation"]["scores"]["sst2"]["n"] = 5
    (row,) = join(make_rows(records), SUBSETS)
    assert row.limited
    assert not row.rankable


def test_the_normalisation_of_every_set_is_said() -> None:
    records = [run_on(subset, 42, 0.5) for subset in SUBSETS]
    for record, mean in zip(records, (0.5, 0.5, 0.5, 0.5, 0.5, 0.25), strict=True):
        record["config"]["task"]["normalisation"] = {"mean": [mean], "std": [1.0]}
    about = build_tables(glue(), make_rows(records), PAPER).tables[0].about
    assert "Images normalised by: mean 0.25 and deviation 1 and mean 0.5 and deviation 1" in about
