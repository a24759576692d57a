"""Commands for open cells: they compose, and they say what the row says."""

import json
import shlex
from typing import Any
from unittest.mock import patch

import pytest

from tests.composing import composed, run_config
from tests.records.factory import make_config, make_record
from tests.tables.world import PAPER
from wegeft.config import parse
from wegeft.errors import UserError
from wegeft.experiment import check_fit
from wegeft.records.identity import CHOICE_KEYS, digest
from wegeft.records.provenance import PROJECT_ROOT
from wegeft.tables.build import build_tables
from wegeft.tables.commands import command, command_for_more_seeds, explanations
from wegeft.tables.definition import Definition, Section, load_definitions
from wegeft.tables.rows import make_rows
from wegeft.tasks import build_task

TABLES = PROJECT_ROOT / "results" / "tables"
PRINTED = [path.stem for path in sorted(TABLES.glob("*.md")) if "Commands that fill the open cells" in path.read_text()]
FITTING: set[str] = set()
"""Digests of models and methods that were found to fit, so that each is attached once."""
SECTIONS = [(one, section) for one in load_definitions() if not one.planned for section in one.sections]


def _first_run(line: str) -> list[str]:
    """The words of the first run of a command."""
    words = [word for word in shlex.split(line)[2:] if word != "-m"]
    return [word.partition(",")[0] if word.startswith(("seed=", "task=")) else word for word in words]


@pytest.mark.parametrize(("definition", "section"), SECTIONS, ids=lambda value: value.name)
def test_commands_compose_and_their_runs_fill_their_rows(definition: Definition, section: Section) -> None:
    """Carrying out the commands of an empty table gives configs from which the table finds its rows again."""
    (empty,) = [table for table in build_tables(definition, [], PAPER).tables if table.name == section.name]
    lines = empty.commands[: len(section.rows)]
    containers = [composed(*_first_run(line)) for line in lines]
    for container, expected in zip(containers, section.rows, strict=True):
        config = parse(container)
        assert (config.scale.name, config.protocol.name) == (section.scale, section.protocol)
        assert (config.model.name, config.method["name"]) == (section.backbones[0], expected.method)
    rows = make_rows(record for container in containers for record in _records(definition, container))
    (filled,) = [table for table in build_tables(definition, rows, PAPER).tables if table.name == section.name]
    labels = [row.label for row in filled.blocks[0].rows if row.kind == "ours"]
    assert labels == [expected.label or expected.method for expected in section.rows]


def _records(definition: Definition, container: dict[str, Any]) -> list[dict[str, Any]]:
    """The record of a run, or one for each column that is a task of its own."""
    if not definition.joined:
        return [make_record(container)]
    records = []
    for column in definition.counted:
        config = {**container, "task": {**container["task"], "subset": column}}
        record = make_record(config, {column: 0.5})
        record["data"] |= {"hashes": {f"{column}/test": "b" * 64}, "test_examples": {column: 10}}
        records.append(record)
    return records


def _missing_data(task: Any) -> str:
    """What ``task`` says of its files; empty where it needs none."""
    try:
        task.check_data()
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", PRINTED)
def test_a_printed_command_lacks_nothing_but_files(name: str) -> None:
    """Whoever has data and weights where a command below a table of ``results/`` says can run it as it stands."""
    for line in json.loads((TABLES / f"{name}.json").read_text())["commands"]:
        places = ["model.source=packaged:mini_llama"] if "model.source=" in line else []
        config = run_config(*_first_run(line), *places)
        task = build_task(config.task)
        assert "not set" not in _missing_data(task), line
        fit = digest([config.model.model_dump(mode="json"), config.method])
        with patch.object(type(task), "check_data"):
            if fit not in FITTING:
                check_fit(config)
        FITTING.add(fit)


def _row_with(words: list[str], **config: Any) -> Any:
    record = make_record(make_config(**config))
    record["command"] = ["run.py", *words]
    return make_rows([record])[0]


def test_one_seed_is_a_run_and_several_are_a_sweep() -> None:
    names = ("lora", "commonsense", "mini", "mini_llama", "clean")
    assert command(*names, (42,)).startswith("python run.py method=lora")
    assert command(*names, (42, 43)).startswith("python run.py -m method=lora")


def test_own_overrides_are_repeated() -> None:
    row = _row_with(["method=lora", "seed=42", "method.r=4", "method.target_modules=[q_proj,v_proj]"])
    line = command_for_more_seeds(row, (43,))
    assert line.endswith("protocol=clean method.r=4 'method.target_modules=[q_proj,v_proj]' seed=43")


def test_a_swept_override_becomes_the_value_of_this_run() -> None:
    words = ["-m", "method=lora,dora", "training.learning_rate=1e-4,1e-3", "hydra/launcher=joblib", "seed=42,43"]
    words += ["output_dir=/scratch", "logger=wandb", "runtime.threads=2", "data.root=/data"]
    row = _row_with(words, learning_rate=1e-3)
    line = command_for_more_seeds(row, (44,))
    assert line == (
        "python run.py method=lora task=commonsense scale=mini model=mini_llama protocol=clean "
        "training.learning_rate=0.001 data.root=/data seed=44"
    )


def test_what_chooses_a_value_of_the_run_is_repeated() -> None:
    """The keys themselves are no part of a run's identity; the values that they choose are."""
    words = ["tuned=true", *(f"{key}.mini=0.5" for key in CHOICE_KEYS if key != "tuned")]
    row = _row_with(["method=lora", "mode=run", "force=true", "runtime.threads=2", *words, "seed=42"])
    line = command_for_more_seeds(row, (43,))
    assert line.endswith(f"protocol=clean {' '.join(words)} seed=43")


def test_a_command_says_where_files_lie_only_if_its_run_reads_any() -> None:
    """Generated worlds have none; a set that lies in a folder reads what its folder's `base.yaml` says."""
    names = ("commonsense", "small", "local_llama", "clean")
    assert "protocol=clean data.root=data model.source=FOLDER seed=42" in command("lora", *names, (42,))
    given = ("data.root=/data", "model.source=/weights")
    assert "protocol=clean data.root=/data model.source=/weights seed=42" in command("lora", *names, (42,), given)
    for task in ("mini_fgvc/birds,mini_fgvc/flowers", "mini_vtab/things", "mini_acceptability"):
        assert "data.root" not in command("lora", task, "small", "mini_vit", "vision", (42,))
    for task in ("fgvc/cub,fgvc/cars", "vtab1k/svhn", "glue/rte", "own/files"):
        assert "data.root=data" in command("lora", task, "mini", "vit_b16_in21k", "vision", (42,))


def test_places_are_explained_where_they_stand() -> None:
    names = ("commonsense", "small", "local_llama", "clean")
    (said,) = explanations([command("lora", *names, (42,))])
    assert "data is the folder" in said
    assert "FOLDER stands for" in said
    assert explanations([command("lora", "commonsense", "mini", "mini_llama", "clean", (42,))]) == ()
