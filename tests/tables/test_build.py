"""Building: nothing is mixed, nothing is dropped, and what is open says how to fill it."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.records.factory import SUBSETS, make_config, make_record
from tests.tables.world import PAPER, awkward_records
from wegeft.errors import UserError
from wegeft.records.store import read_records
from wegeft.tables.build import build_tables
from wegeft.tables.cells import headings
from wegeft.tables.definition import (
    DEFINITIONS,
    Definition,
    known_tasks,
    load_definition,
    load_definitions,
    settle_task,
)
from wegeft.tables.rows import make_rows
from wegeft.tables.table import Block, Cell, Heading, Row, Table, rank
from wegeft.tables.write import make_tables

COMMONSENSE = DEFINITIONS / "commonsense.yaml"


@pytest.fixture(scope="module")
def commonsense() -> Definition:
    return load_definition(COMMONSENSE)


@pytest.fixture(scope="module")
def tables(commonsense: Definition) -> dict[str, Table]:
    return {table.name: table for table in build_tables(commonsense, make_rows(awkward_records()), PAPER).tables}


def _ours(table: Table) -> list[Row]:
    return [row for block in table.blocks for row in block.rows if row.kind == "ours"]


def test_scales_and_protocols_never_share_a_table(tables: dict[str, Table]) -> None:
    for table in tables.values():
        places = {(row.facts["scale"], row.facts["protocol"]) for row in _ours(table) if row.facts}
        assert len(places) <= 1
    assert "commonsense_small_v5" in tables


def test_every_record_is_in_exactly_one_table() -> None:
    records = awkward_records()
    definitions = load_definitions()
    tables, problems = make_tables(
        make_rows(records),
        PAPER,
        definitions,
        {choice for definition in definitions if not definition.planned for choice in definition.choices},
    )
    assert problems == []
    shown = [
        identity
        for table in tables
        if table.name != "mini_backbones" and not table.name.startswith("efficiency")
        for row in _ours(table)
        for identity in row.facts.get("run_ids", "").split()
    ]
    elsewhere = {r["run_id"] for r in records if r["config"]["model"]["name"] == "mini_llama_random"}
    assert sorted(shown) == sorted({record["run_id"] for record in records} - elsewhere)
    (control,) = [table for table in tables if table.name == "mini_backbones"]
    assert elsewhere <= {identity for row in _ours(control) for identity in row.facts["run_ids"].split()}


def test_versions_of_the_paper_are_never_mixed(tables: dict[str, Table]) -> None:
    sources = {
        name: {
            row.facts["published_in"] for block in table.blocks for row in block.rows if row.kind in ("own", "quoted")
        }
        for name, table in tables.items()
    }
    assert sources["commonsense_paper_v3"] == {"v3"}
    assert "v3" not in sources["commonsense_paper_v5"]
    assert sources["commonsense_mini"] == set()


def test_quoted_numbers_have_their_own_blocks(tables: dict[str, Table]) -> None:
    for table in tables.values():
        for block in table.blocks:
            kinds = {row.kind for row in block.rows}
            assert kinds <= {"ours", "open"} or len(kinds) == 1
            assert block.quoted == (kinds == {"quoted"})


def test_published_cells_are_printed_as_published(tables: dict[str, Table]) -> None:
    rows = [row for block in tables["commonsense_paper_v3"].blocks for row in block.rows if row.kind == "own"]
    labels = [heading.text for heading in tables["commonsense_paper_v3"].headings]
    first = dict(zip(labels, (cell.text for cell in rows[0].cells), strict=True))
    assert rows[0].label == "GIFT (QV r=64)"
    assert (first["BoolQ"], first["mean"], first["% of backbone"], first["seeds"]) == ("69.9", "80.9", "0.016", "")


def test_means_over_different_sets_are_not_compared() -> None:
    (own,) = [one for one in load_definitions() if one.name == "own"]
    marks = {heading.text: heading.ranked for heading in headings(own)}
    assert marks["mean of the row's sets"] is False
    assert marks["DTD (10 textures)"] is True


@pytest.mark.parametrize("ranked", [True, False])
def test_means_over_different_sets_are_not_tested(commonsense: Definition, ranked: bool) -> None:
    records = [
        make_record(make_config(method, seed), {subset: level + seed / 1000})
        for method, subset, level in (("lora", "boolq", 0.9), ("dora", "piqa", 0.2))
        for seed in (42, 43, 44)
    ]
    definition = commonsense.model_copy(update={"mean_ranked": ranked})
    names = {table.name for table in build_tables(definition, make_rows(records), PAPER).tables}
    assert ("commonsense_mini_pairs" in names) == ranked


def test_failed_seeds_are_shown_and_never_best(tables: dict[str, Table]) -> None:
    (row,) = [row for row in _ours(tables["commonsense_mini"]) if row.label == "full"]
    assert row.cells[-1].text == "2 of 3 (43 diverged)"
    assert row.facts["failed_seeds"] == "43"
    assert not any(cell.rank for cell in row.cells)


def test_dirty_rows_are_marked_and_explained(tables: dict[str, Table]) -> None:
    table = tables["commonsense_mini"]
    (row,) = [row for row in _ours(table) if row.label.startswith("wegeft")]
    assert row.label == "wegeft †"
    assert row.cells[-1].text == "3 (1 of them †)"
    assert any(note.startswith("†") for note in table.notes)
    assert not any("†" in note for note in tables["commonsense_paper_v3"].notes)


def test_rows_that_differ_in_a_setting_stay_apart(tables: dict[str, Table]) -> None:
    labels = [row.label for row in _ours(tables["commonsense_mini"]) if row.label.startswith("lora")]
    assert sorted(labels) == ["lora (training.learning_rate=0.0001)", "lora (training.learning_rate=0.002)"]


def test_a_missing_row_is_open_with_its_command(tables: dict[str, Table]) -> None:
    table = tables["commonsense_mini"]
    (row,) = [row for block in table.blocks for row in block.rows if row.label == "red"]
    assert row.kind == "open"
    assert not any(cell.text for cell in row.cells)
    command = "python run.py -m method=red task=commonsense scale=mini model=mini_llama protocol=clean seed=42,43,44"
    assert command in table.commands


def test_missing_seeds_have_their_command(tables: dict[str, Table]) -> None:
    command = "python run.py method=dora task=commonsense scale=mini model=mini_llama protocol=clean seed=44"
    assert command in tables["commonsense_mini"].commands
    assert not any("method=none" in line for line in tables["commonsense_mini"].commands)


def test_an_adapter_that_was_given_has_no_command_for_other_seeds(commonsense: Definition) -> None:
    """Another seed needs another file; the same words would score the same weights again, or train other ones."""
    for adapter, lacking in ((None, 1), ("elsewhere/adapter.safetensors", 0)):
        record = make_record(make_config("lora") | {"adapter": adapter})
        record["command"] = ["run.py", "mode=evaluate", f"adapter={adapter}", "seed=42"]
        table = build_tables(commonsense, make_rows([record]), PAPER).tables[0]
        assert sum("method=lora " in line for line in table.commands) == lacking


def test_a_trial_on_a_few_questions_fills_no_cell(commonsense: Definition) -> None:
    records = [make_record(make_config("lora")), make_record(make_config("dora"))]
    for score in records[0]["evaluation"]["scores"].values():
        score["n"] = 5
        score["value"] = 0.9
    table = build_tables(commonsense, make_rows(records), PAPER).tables[0]
    (trial,) = [row for row in _ours(table) if row.label == "lora ‡"]
    assert not any(cell.rank for cell in trial.cells)
    names = "task=commonsense scale=mini model=mini_llama protocol=clean"
    assert f"python run.py -m method=lora {names} seed=42,43,44" in table.commands
    assert f"python run.py -m method=dora {names} seed=43,44" in table.commands


def _trial(record: dict[str, Any]) -> dict[str, Any]:
    """``record``, but scored on a few questions."""
    for score in record["evaluation"]["scores"].values():
        score["n"] = 5
    return record


def test_a_trial_on_a_few_questions_is_in_no_contest(commonsense: Definition) -> None:
    """The whole runs of a method are compared, though its trials have more seeds; a method of trials alone is not."""
    records = [make_record(make_config(method, seed)) for method in ("lora", "dora") for seed in (42, 43)]
    trials = [_trial(make_record(make_config("wegeft", seed))) for seed in (42, 43)]
    trials += [_trial(make_record(make_config("lora", seed, warmup_ratio=0.1))) for seed in (42, 43, 44)]
    tables = {table.name: table for table in build_tables(commonsense, make_rows([*records, *trials]), PAPER).tables}
    (block,) = tables["commonsense_mini_pairs"].blocks
    (label,) = {row.label for row in block.rows}
    assert label == "lora − dora"
    assert len(tables["commonsense_mini_wins"].headings) == 2


def test_header_and_footnotes_say_what_holds(tables: dict[str, Table]) -> None:
    table = tables["commonsense_mini"]
    assert "Loss: on the answer only" in table.about
    assert "Protocol: clean" in table.about
    assert any("answer_after_trigger v1" in fact for fact in table.about)
    assert not any("normalised" in fact for fact in table.about)

    assert any("SHA-256" in note and "boolq/test bf3d3971d449" in note for note in table.notes)
    assert any("mini Llama 1,000,000" in note for note in table.notes)


def test_the_normalisation_of_images_is_printed(project_root: Path) -> None:
    records = read_records(project_root / "results" / "records", curves=False)[0]
    images = [record for record in records if record["config"]["task"]["name"] in ("mini_fgvc", "own")]
    found = {name: load_definition(DEFINITIONS / f"{name}.yaml") for name in ("mini_fgvc", "own")}
    about = {
        name: [table.about for table in build_tables(one, make_rows(images), PAPER).tables]
        for name, one in found.items()
    }
    assert any(
        "Images normalised by: mean 0.5, 0.5, 0.5 and deviation 0.5, 0.5, 0.5" in one for one in about["mini_fgvc"]
    )
    assert any("normalised by: mean 0.4914, 0.4822, 0.4465" in fact for one in about["own"] for fact in one)


def test_numbers_are_percentages_over_seeds(commonsense: Definition) -> None:
    records = [
        make_record(make_config(seed=seed), dict.fromkeys(SUBSETS, value))
        for seed, value in ((42, 0.7), (43, 0.8), (44, 0.9))
    ]
    table = build_tables(commonsense, make_rows(records), PAPER).tables[0]
    (row,) = _ours(table)
    texts = dict(zip((heading.text for heading in table.headings), (cell.text for cell in row.cells), strict=True))
    assert texts["BoolQ"] == "80.0 ± 10.0"
    assert texts["mean"] == "80.0 ± 10.0"
    assert texts["parameters"] == "1,000"
    assert texts["% of backbone"] == "0.100"
    assert texts["learning rate"] == "0.002"
    assert texts["seeds"] == "3"


def test_chance_stands_beside_the_mean() -> None:
    definition = load_definition(DEFINITIONS / "mini_backbones.yaml")
    table = build_tables(definition, make_rows([make_record(values=dict.fromkeys(SUBSETS, 0.6))]), PAPER).tables[0]
    (row,) = _ours(table)
    texts = dict(zip((heading.text for heading in table.headings), (cell.text for cell in row.cells), strict=True))
    assert (texts["chance"], texts["above chance"]) == ("25.0", "+35.0")


def _block(*values: float | None, ranked: tuple[bool, ...] = ()) -> Block:
    flags = ranked or (True,) * len(values)
    rows = [
        Row(str(index), (Cell(str(value), value),), "ours", ranked=flag)
        for index, (value, flag) in enumerate(zip(values, flags, strict=True))
    ]
    return Block("title", tuple(rows))


@pytest.mark.parametrize(
    ("values", "ranks"),
    [
        ((1.0, 3.0, 2.0), ("", "best", "second")),
        ((3.0, 3.0, 2.0), ("best", "best", "second")),
        ((3.0, 2.0, 2.0), ("best", "second", "second")),
        ((3.0, 3.0), ("best", "best")),
        ((3.0,), ("",)),
        ((None, 3.0), ("", "")),
        ((None, 3.0, 1.0), ("", "best", "second")),
    ],
)
def test_ranks(values: tuple[float | None, ...], ranks: tuple[str, ...]) -> None:
    block = rank(_block(*values), [Heading("x", ranked=True)])
    assert tuple(row.cells[0].rank for row in block.rows) == ranks


def test_what_is_not_ranked_is_left_alone() -> None:
    block = rank(_block(9.0, 3.0, 2.0, ranked=(False, True, True)), [Heading("x", ranked=True)])
    assert [row.cells[0].rank for row in block.rows] == ["", "best", "second"]
    assert rank(_block(1.0, 2.0), [Heading("x")]) == _block(1.0, 2.0)


def _changed(tmp_path: Path, **changes: Any) -> Path:
    content = yaml.safe_load(COMMONSENSE.read_text()) | changes
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"surprise": 1}, r"changed\.yaml: surprise is not a key"),
        ({"columns": []}, r"changed\.yaml: columns"),
        ({"extras": ["colour"]}, r"changed\.yaml: extras\.0"),
        ({"backbones": []}, r"changed\.yaml: section commonsense_mini names backbone mini_llama"),
    ],
)
def test_a_broken_definition_names_its_file(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_definition(_changed(tmp_path, **changes))


def test_a_definition_that_is_not_yaml_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: [")
    with pytest.raises(UserError, match=r"x\.yaml is not YAML"):
        load_definition(tmp_path / "x.yaml")


def test_an_unknown_task_is_named_with_the_choices(tmp_path: Path) -> None:
    definition = load_definition(_changed(tmp_path, task="comonsense"))
    with pytest.raises(UserError, match=r"task=comonsense is not one of commonsense, glue.*did you mean commonsense"):
        settle_task(definition, {"commonsense", "glue"})


def test_shipped_definitions_agree_with_the_tasks_that_exist() -> None:
    for definition in load_definitions():
        assert definition.planned != (set(definition.choices) <= known_tasks()), definition.name


def test_a_planned_table_becomes_a_table_when_its_task_exists(commonsense: Definition) -> None:
    planned = commonsense.model_copy(update={"planned": True})
    assert settle_task(planned, {"glue"}).planned
    assert not settle_task(planned, {"commonsense"}).planned


def test_a_section_declared_twice_is_refused(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        shutil.copy(COMMONSENSE, tmp_path / name)
    with pytest.raises(UserError, match="section commonsense_mini twice"):
        load_definitions(tmp_path)


def test_a_column_that_no_published_row_has_is_a_mistake(tmp_path: Path) -> None:
    content = yaml.safe_load(COMMONSENSE.read_text())
    content["columns"][0]["published"] = "BoolQA"
    definition = load_definition(_changed(tmp_path, columns=content["columns"]))
    with pytest.raises(UserError, match=r"expects BoolQA in .*\.csv, which has ARC-c"):
        build_tables(definition, [], PAPER)


def test_a_subset_without_a_column_is_reported() -> None:
    record = make_record(values={**dict.fromkeys(SUBSETS, 0.5), "renamed": 0.5, "boolq/strict": 0.4})
    definitions = load_definitions()
    tables, problems = make_tables(
        make_rows([record]),
        PAPER,
        definitions,
        {choice for definition in definitions if not definition.planned for choice in definition.choices},
    )
    assert [problem.file for problem in problems] == [f"{record['run_id']}.json"]
    assert "renamed" in problems[0].message
    assert tables


def _made(*records: dict[str, Any]) -> tuple[list[Table], list[str]]:
    """All tables of ``records`` by the shipped definitions, and what could not be used."""
    tables, problems = make_tables(make_rows(records), PAPER, load_definitions(), known_tasks())
    return tables, [str(problem) for problem in problems]


def test_a_task_without_a_definition_gets_a_plain_table() -> None:
    records = [
        make_record(make_config("lora", seed, task="riddles"), {"easy": 0.5, "hard": 0.3, "hard/strict": 0.2})
        for seed in (1, 2)
    ]
    tables, problems = _made(*records, make_record(make_config("full", 1, task="riddles"), status="diverged"))
    (table,) = [table for table in tables if table.name == "riddles_mini_clean"]
    assert [row.label for row in _ours(table)] == ["full", "lora"]
    texts = dict(
        zip((heading.text for heading in table.headings), (c.text for c in _ours(table)[1].cells), strict=True)
    )
    assert (texts["easy"], texts["hard"], texts["hard/strict"]) == ("50.0 ± 0.0", "30.0 ± 0.0", "20.0 ± 0.0")
    assert table.commands == ()
    assert "Metric: accuracy, times 100" in table.about
    assert problems == []


def test_a_task_of_which_nothing_finished_gets_a_plain_table() -> None:
    tables, problems = _made(make_record(make_config(task="riddles"), status="failed"))
    assert "riddles_mini_clean" in {table.name for table in tables}
    assert problems == []


def test_a_row_that_no_definition_takes_is_named() -> None:
    """The random mini backbone belongs to mini_backbones.yaml, which takes the mini scale alone."""
    record = make_record(make_config("lora", 42, "mini_llama_random", "small"))
    _, problems = _made(record)
    place = "task=commonsense scale=small protocol=clean model=mini_llama_random"
    assert problems == [f"{record['run_id']}.json: no table takes {place} method=lora (seeds 42)."]
