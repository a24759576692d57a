"""The appendix: every setting of every row is in it."""

from tests.records.factory import make_config, make_record
from wegeft.records import IGNORED_KEYS
from wegeft.tables.appendix import appendix
from wegeft.tables.rows import flatten, make_rows


def test_every_setting_is_listed_once_or_for_each_row() -> None:
    configs = [make_config("lora", weight_decay=0.1), make_config("dora", weight_decay=0.2)]
    rows = make_rows(make_record(config) for config in configs)
    (table,) = appendix("t", "T", [(row.key.method, row) for row in rows])
    shared = {row.label: row.cells[0].text for row in table.blocks[0].rows}
    own = [{row.label: row.cells[0].text for row in block.rows} for block in table.blocks[1:]]
    ignored = (*IGNORED_KEYS, "seed")
    for config, settings in zip(sorted(configs, key=lambda c: c["method"]["name"]), own, strict=True):
        for key, value in flatten(config).items():
            if not any(key == name or key.startswith(f"{name}.") for name in ignored):
                listed = {**shared, **settings}[key]
                assert listed == ("null" if value is None else str(value).lower() if value is False else str(value))
    assert own[0]["training.weight_decay"] == "0.2"
    assert "training.weight_decay" not in shared
    assert shared["training.learning_rate"] == "0.002"


def test_seeds_steps_versions_and_commands_are_there() -> None:
    records = [make_record(make_config(seed=seed)) for seed in (42, 43)]
    for record in records:
        record["command"] = ["run.py", "method=lora", f"seed={record['config']['seed']}"]
    (row,) = make_rows(records)
    (table,) = appendix("t", "T", [("lora", row)])
    facts = {line.label: line.cells[0].text for line in table.blocks[1].rows}
    assert facts["seeds"] == "42 43"
    assert facts["steps"] == "100"
    assert "torch 2.13.0" in facts["versions"]
    assert table.commands == ("python run.py method=lora seed=42", "python run.py method=lora seed=43")


def test_no_rows_no_appendix() -> None:
    assert appendix("t", "T", []) == []
