"""Writing and reading record files.

A file appears whole or not at all, whatever happens to the process; a file that cannot be read never hides
the others. Does not: decide what a record says, or which records a table uses.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import jsonschema_rs
from pydantic_core import from_json

from wegeft.files import write_atomically

Record: TypeAlias = dict[str, Any]

SCHEMA_VERSION = 1
# A list of numbers spread over lines by json's indentation (a string never holds a real line break). On one line, a
# record with a loss curve takes half the space and half the time to read.
_NUMBERS = re.compile(r"\[\n[\d\s.,eE+-]+\]")
SCHEMA_FILE = Path(__file__).with_name("schema.json")


class InvalidRecord(ValueError):
    """A record that does not follow ``schema.json``; the message names the field."""


@dataclass(frozen=True)
class Problem:
    """A file that could not be used, and why, in one sentence."""

    file: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.message}"


def record_path(identity: str, folder: Path) -> Path:
    """Where the record of run ``identity`` is or will be."""
    return folder / f"{identity}.json"


def write_record(record: Mapping[str, Any], folder: Path) -> Path:
    """Write ``record`` to ``folder/<run_id>.json`` in one step, in place of an older record of the same run.

    The text goes to a temporary file beside the target, is flushed to the disk and then renamed, so that a
    reader sees the old file or the new one.

    Returns:
        The path written.

    Raises:
        InvalidRecord: before anything is written, if the record does not follow the schema.
    """
    check(record)
    text = json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    text = _NUMBERS.sub(lambda match: "".join(match[0].split()), text)
    target = record_path(record["run_id"], folder)
    write_atomically(target, text.encode())
    return target


def read_record(path: Path) -> Record:
    """The record in ``path``.

    Raises:
        InvalidRecord: not readable, not JSON, or not following the schema; one sentence without the file's
        name.
    """
    try:
        # Five times as fast as json.loads: the loss curves of thousands of records are millions of small lists.
        record = from_json(path.read_bytes(), allow_inf_nan=False)
    except OSError as error:
        raise InvalidRecord(f"cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise InvalidRecord(f"is not JSON ({error}).") from error
    check(record)
    return record  # type: ignore[no-any-return]  # the schema has just said that it is an object


def read_records(folder: Path, curves: bool = True) -> tuple[list[Record], list[Problem]]:
    """Every usable record in ``folder/*.json``, sorted by run id, and the files that could not be used.

    Two files with one run id and different scores contradict each other: neither is used and both are named.
    Two that agree count once. A folder that does not exist holds no records. Without ``curves`` the loss curves are
    let go of as soon as they are checked, which of thousands of records is most of the memory.
    """
    found: dict[str, tuple[str, Record]] = {}
    contradicted: dict[str, list[str]] = {}
    problems: list[Problem] = []
    for path in sorted(folder.glob("*.json")):
        try:
            record = read_record(path)
        except InvalidRecord as error:
            problems.append(Problem(path.name, str(error)))
            continue
        if not curves and record["training"]:
            record["training"]["loss_curve"] = []
        first_name, first = found.setdefault(record["run_id"], (path.name, record))
        if _outcome(first) != _outcome(record):
            contradicted.setdefault(record["run_id"], [first_name]).append(path.name)
    for identity, names in contradicted.items():
        message = f"several files give run {identity} different scores ({', '.join(names)}); none of them is used."
        problems.append(Problem(names[0], message))
        del found[identity]
    records = [record for _, (_, record) in sorted(found.items())]
    return records, sorted(problems, key=lambda problem: problem.file)


def check(record: Any) -> None:
    """Raise :class:`InvalidRecord` naming the first field that breaks the schema or contradicts another."""
    try:
        _validator().validate(record)
    except jsonschema_rs.ValidationError as error:
        place = ".".join(str(part) for part in error.instance_path) or "the record"
        raise InvalidRecord(f"{place} breaks the schema: {_short(error.message)}") from error
    _check_outcomes(record["evaluation"] or {})


def _check_outcomes(evaluation: Mapping[str, Any]) -> None:
    """What a schema cannot say: outcomes belong to scores, and are as many as the questions."""
    for subset, outcome in evaluation.get("outcomes", {}).items():
        score = evaluation["scores"].get(subset)
        if score is None or len(outcome["right"]) != -(-score["n"] // 4):
            raise InvalidRecord(f"evaluation.outcomes.{subset} does not fit evaluation.scores.{subset}.n.")


@cache
def _validator() -> Any:
    return jsonschema_rs.Draft202012Validator(json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))


def _short(message: str, limit: int = 200) -> str:
    """A validator's message on one line; it quotes the offending value, which may be a whole record."""
    line = " ".join(message.split())
    return line if len(line) <= limit else f"{line[: limit // 2]} … {line[-limit // 2 :]}"


def _outcome(record: Record) -> tuple[Any, ...]:
    evaluation = record["evaluation"] or {}
    return record["status"], evaluation.get("scores"), evaluation.get("mean")
