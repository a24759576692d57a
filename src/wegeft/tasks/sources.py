"""Where rows come from: files in the layout of the LLM-Adapters repository, or any class with the same methods.

A row has four text fields, ``instruction``, ``input``, ``output`` and ``answer``, as in
github.com/AGI-Edgerunners/LLM-Adapters.

Does not: render prompts or tokenise. Rows are read whole and checked whole: a broken row is an error, never dropped.
"""

import hashlib
import json
import random
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from wegeft.errors import UserError
from wegeft.schema import Strict, did_you_mean
from wegeft.tasks.data_file import decode, read_bytes

Split = Literal["train", "test"]
Row = Mapping[str, str]
ROW_FIELDS = ("instruction", "input", "output", "answer")


class Source(ABC):
    """Rows of named subsets, split into train and test."""

    Config: ClassVar[type[Strict]]

    @abstractmethod
    def rows(self, subset: str, split: Split) -> Sequence[Row]:
        """Rows of one subset, in order."""

    def row_numbers(self, subset: str, split: Split) -> Sequence[int]:
        """For each of :meth:`rows` its number in the whole file, from 0."""
        return range(len(self.rows(subset, split)))

    def left_out(self, subset: str, split: Split) -> int:
        """Rows of the file that the set never uses, whatever their length; none for most sources."""
        del subset, split
        return 0

    def file_split(self, split: Split) -> Split:
        """Which split the files call the rows of ``split``: the same, unless a source divides them otherwise."""
        return split

    def content_hash(self, subset: str, split: Split) -> str:
        """SHA-256 of the rows that :meth:`rows` yields, whatever the file's formatting."""
        digest = hashlib.sha256()
        for row in self.rows(subset, split):
            digest.update(json.dumps([row[field] for field in ROW_FIELDS]).encode())
            digest.update(b"\n")
        return digest.hexdigest()

    @abstractmethod
    def check(self, subset: str, split: Split) -> None:
        """UserError if the rows cannot be had; does not read them whole."""

    @abstractmethod
    def expected(self, subset: str, split: Split) -> int | None:
        """Rows of the published set, or None where nothing is published."""

    @abstractmethod
    def expected_drawn(self, subset: str, split: Split) -> int | None:
        """As :meth:`expected`, for the share of the rows that the config draws."""

    @abstractmethod
    def chance(self, subset: str) -> float | None:
        """Accuracy of guessing on the test rows of ``subset``, or None if unknown."""

    def listed(self, row: Row) -> tuple[str, ...]:
        """The answers among which the question of ``row`` lets choose; none where it lists none, as in most sources."""
        del row
        return ()


def draw(total: int, wanted: int | None, seed: int) -> Sequence[int]:
    """``wanted`` of ``total`` row numbers in ascending order, without replacement; all of them for None."""
    if wanted is None or wanted >= total:
        return range(total)
    return sorted(random.Random(seed).sample(range(total), wanted))


def listed_answers(instruction: str) -> tuple[str, ...]:
    """The answers that a commonsense question of LLM-Adapters lists; none if it lists none.

    They stand behind "Answer format:" with strokes between them (``answer1/answer2``). Where words are asked for
    instead, as the mini world does, they are the words of the numbered options.
    """
    question, found, answer_format = instruction.rpartition("Answer format: ")
    if not found or "/" in answer_format:
        return tuple(answer_format.split("/")) if found else ()
    return tuple(option.strip() for option in re.split(r"(?:Answer|Solution|Ending|Option)\d+: ", question)[1:])


class LLMAdaptersConfig(Strict):
    """Where the files are and how much of them is used.

    Attributes:
        root: folder that holds ``dataset/`` and ``ft-training_set/``; None is refused when rows are first needed.
        train_file: path below ``root``; ``{subset}`` stands for the subset's name.
        test_file: as ``train_file``.
        train_rows: rows per training subset, drawn without replacement with ``sample_seed``; None is all.
        test_rows: as ``train_rows``.
        sample_seed: seed of both draws.
        expected_rows: rows of the published files by ``subset/split``.
        require_expected: a file with another number of rows is an error instead of a remark in the record.
        chance: accuracy of guessing by subset.
    """

    root: str | None
    train_file: str
    test_file: str
    train_rows: int | None = Field(ge=1)
    test_rows: int | None = Field(ge=1)
    sample_seed: int = Field(ge=0)
    expected_rows: dict[str, int]
    require_expected: bool
    chance: dict[str, float]

    @field_validator("train_file", "test_file")
    @classmethod
    def _inside_root(cls, value: str) -> str:
        if Path(value).is_absolute() or ".." in Path(value).parts:
            raise ValueError(f"{value} must be a path below data.root")
        return value


class LLMAdaptersFiles(Source):
    """Rows from JSON files: an array of objects with the four text fields."""

    Config: ClassVar[type[LLMAdaptersConfig]] = LLMAdaptersConfig

    def __init__(self, config: LLMAdaptersConfig) -> None:
        self.config = config

    def rows(self, subset: str, split: Split) -> Sequence[Row]:
        """See :meth:`Source.rows`.

        Raises:
            UserError: no root, no file, no valid JSON, or a row without a field; the sentence names file and row.
        """
        rows = read_rows(self.path(subset, split))
        self._check_count(subset, split, len(rows))
        return [rows[number] for number in self._drawn(split, len(rows))]

    def row_numbers(self, subset: str, split: Split) -> Sequence[int]:
        """See :meth:`Source.row_numbers`."""
        return self._drawn(split, len(read_rows(self.path(subset, split))))

    def _drawn(self, split: Split, total: int) -> Sequence[int]:
        wanted = self.config.train_rows if split == "train" else self.config.test_rows
        return draw(total, wanted, self.config.sample_seed)

    def path(self, subset: str, split: Split) -> Path:
        """File of one subset and split."""
        if self.config.root is None:
            raise UserError(
                "data.root is not set: give the folder that holds dataset/ and ft-training_set/, "
                "or fetch it with `python scripts/fetch_data.py commonsense`."
            )
        name = self.config.train_file if split == "train" else self.config.test_file
        return Path(self.config.root) / name.format(subset=subset)

    def expected(self, subset: str, split: Split) -> int | None:
        """See :meth:`Source.expected`."""
        return self.config.expected_rows.get(f"{subset}/{split}")

    def expected_drawn(self, subset: str, split: Split) -> int | None:
        """See :meth:`Source.expected_drawn`."""
        expected = self.expected(subset, split)
        return None if expected is None else len(self._drawn(split, expected))

    def check(self, subset: str, split: Split) -> None:
        """See :meth:`Source.check`."""
        if self.path(subset, split).is_file():
            return
        known = [name.removesuffix(f"/{split}") for name in self.config.expected_rows if name.endswith(f"/{split}")]
        near = did_you_mean(subset, known)
        unknown = "" if subset in known else f", or task.{split}_subsets: {subset} is none of {', '.join(known)}{near}"
        raise UserError(f"data file {self.path(subset, split)} does not exist; check data.root{unknown}.")

    def chance(self, subset: str) -> float | None:
        """See :meth:`Source.chance`."""
        return self.config.chance.get(subset)

    def listed(self, row: Row) -> tuple[str, ...]:
        """See :meth:`Source.listed`."""
        return listed_answers(row["instruction"])

    def _check_count(self, subset: str, split: Split, found: int) -> None:
        expected = self.expected(subset, split)
        if self.config.require_expected and expected not in (None, found):
            raise UserError(
                f"{self.path(subset, split)} has {found} rows and the published file has {expected}; "
                "set task.source.require_expected=false to run on it all the same."
            )


class FilteredFiles(LLMAdaptersFiles):
    """Rows of files of which some do not qualify; a subclass says in :meth:`qualifying` which do."""

    @abstractmethod
    def qualifying(self, subset: str, split: Split) -> Sequence[tuple[int, Row]]:
        """The rows of a file that are asked or trained on, each with its number in the file."""

    def rows(self, subset: str, split: Split) -> Sequence[Row]:
        """See :meth:`Source.rows`."""
        found = self.qualifying(subset, split)
        return [found[index][1] for index in self._drawn(split, len(found))]

    def row_numbers(self, subset: str, split: Split) -> Sequence[int]:
        """See :meth:`Source.row_numbers`."""
        found = self.qualifying(subset, split)
        return [found[index][0] for index in self._drawn(split, len(found))]

    def left_out(self, subset: str, split: Split) -> int:
        """See :meth:`Source.left_out`; rows that do not qualify."""
        return len(read_objects(self.path(subset, split))) - len(self.qualifying(subset, split))


@cache
def read_rows(path: Path) -> tuple[Row, ...]:
    """All rows of a JSON array or JSON-lines file (told apart by ``.jsonl``), packed with gzip or not, checked.

    Raises:
        UserError: the sentence names the file, and the row counted from 0.
    """
    return parse_rows(path, read_bytes(path))


def parse_rows(path: Path, content: bytes) -> tuple[Row, ...]:
    """As :func:`read_rows`, for the bytes of a file that has been read."""
    return tuple(checked_row(path, number, row) for number, row in enumerate(_objects(path, content)))


def read_objects(path: Path) -> list[Mapping[str, Any]]:
    """As :func:`read_rows`, for objects with any fields.

    Raises:
        UserError: no such file, or broken or no content; the sentence names the file.
    """
    return _objects(path, read_bytes(path))


def _objects(path: Path, content: bytes) -> list[Mapping[str, Any]]:
    text, lines = decode(path, content), ".jsonl" in path.suffixes
    rows = _json_lines(path, text) if lines else _json_array(path, text)
    if not rows:
        raise UserError(f"data file {path} holds no rows.")
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise UserError(f"data file {path}, row {number} is a {type(row).__name__}, not an object.")
    return rows


def _json_array(path: Path, text: str) -> list[Any]:
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"data file {path} is not valid JSON at line {error.lineno}: {error.msg}.") from error
    if not isinstance(rows, list):
        raise UserError(f"data file {path} holds a {type(rows).__name__}, not an array of rows.")
    return rows


def _json_lines(path: Path, text: str) -> list[Any]:
    rows = []
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else []):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise UserError(f"data file {path}, row {number} is not valid JSON: {error.msg}.") from error
    return rows


def checked_row(path: Path, number: int, row: Mapping[str, Any]) -> Row:
    """``row`` with its four text fields alone; UserError for one that is missing, or an empty question or answer."""
    for field in ROW_FIELDS:
        if not isinstance(row.get(field), str):
            raise UserError(f"data file {path}, row {number} has no text field `{field}`.")
    for field in ("instruction", "answer"):  # published test files leave `output` empty, which nothing reads
        if not row[field].strip():
            raise UserError(f"data file {path}, row {number} has an empty `{field}`.")
    return {field: row[field] for field in ROW_FIELDS}
