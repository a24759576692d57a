"""The hyper-parameter appendix: every setting of every row, generated from the records.

One file per table that has rows of ours. Settings that all rows of the file share are listed once. Does not: leave a
setting out because it looks unimportant; the flag that was only in a comment is the one that mattered (LLM-Adapters
issue 38).
"""

import shlex
from collections.abc import Sequence
from typing import Any

from wegeft.records.identity import recipe_config
from wegeft.tables.rows import OurRow, flatten
from wegeft.tables.table import Block, Cell, Heading, Row, Table


def appendix(name: str, title: str, rows: Sequence[tuple[str, OurRow]]) -> list[Table]:
    """The settings of labelled rows, or nothing if there is none.

    Args:
        name: of the table that shows the rows.
        title: its caption.
        rows: label and row, in the table's order.
    """
    if not rows:
        return []
    settings = [flatten(recipe_config(row.config, also_without=("seed",))) for _, row in rows]
    keys = sorted({key for one in settings for key in one})
    shared = [key for key in keys if len({_text(one.get(key)) for one in settings}) == 1]
    blocks = [Block("the same for all rows", tuple(_line(key, settings[0].get(key)) for key in shared))]
    for (label, row), one in zip(rows, settings, strict=True):
        own = [_line(key, one[key]) for key in keys if key not in shared and key in one]
        facts = [_line(key, value) for key, value in _facts(row).items()]
        blocks.append(Block(f"{label} on {row.key.model}", (*own, *facts)))
    return [
        Table(
            name=f"{name}_settings",
            title=f"Settings: {title}",
            about=("Every key of the resolved configuration, without what cannot change a result",),
            headings=(Heading("value", numeric=False),),
            blocks=tuple(blocks),
            notes=(),
            commands=tuple(_commands(rows)),
            label="setting",
            commands_title="Commands as they were recorded",
        )
    ]


def _facts(row: OurRow) -> dict[str, Any]:
    """What the run itself says about its settings."""
    run = row.runs[0]
    hardware = run["provenance"]["hardware"]
    versions = {name: found["version"] for name, found in run["provenance"]["packages"].items()}
    return {
        "seeds": " ".join(str(seed) for seed in row.seeds),
        "trainable parameters": run["parameters"]["trainable"],
        "head parameters": run["parameters"]["head"],
        "training examples": run["data"]["train_examples"],
        "steps": run["training"]["steps"] if run["training"] else None,
        **{f"source of {key}": one["source"] for key, one in run.get("hyper_parameters", {}).items()},
        "hardware": ", ".join(hardware["gpus"]) or hardware["cpu"],
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items() if version),
        "run ids": " ".join(one["run_id"] for one in row.runs),
    }


def _commands(rows: Sequence[tuple[str, OurRow]]) -> list[str]:
    """The recorded commands, each once."""
    lines = (shlex.join(["python", *run["command"]]) for _, row in rows for run in row.runs)
    return list(dict.fromkeys(lines))


def _line(key: str, value: Any) -> Row:
    return Row(key, (Cell(_text(value)),), "ours")


def _text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value) or "[]"
    return str(value).lower() if isinstance(value, bool) else str(value)
