"""The six GLUE sets of the RoBERTa experiments: their files, their metrics, and an honest split.

The published numbers choose the best epoch, learning rate and weight decay on the validation set and report the score
on the same set (protocol of arXiv 2312.00700 v2 and v3). :func:`halves` splits it, one half to choose on and one to
report.

Does not: tokenise, train or predict.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wegeft.errors import UserError
from wegeft.evaluation.metrics import Metric
from wegeft.tasks.data_file import decode, read_bytes

GlueSplit = Literal["train", "dev"]


@dataclass(frozen=True)
class GlueSet:
    """How one set is written down and scored.

    Attributes:
        folder: below the data root, as in the official archives.
        header: whether the first line names the columns.
        first: column of the first sentence, from 0.
        second: column of the second sentence; None where there is one only.
        label: column of the label.
        labels: names of the classes in order of their ids; None for a score from 0 to 5.
        metric: what is reported.
        rows: published number of rows by split.
    """

    folder: str
    header: bool
    first: int
    second: int | None
    label: int
    labels: tuple[str, ...] | None
    metric: Metric
    rows: Mapping[str, int]


BINARY = ("0", "1")
ENTAILMENT = ("entailment", "not_entailment")

GLUE: Mapping[str, GlueSet] = {
    "sst2": GlueSet("SST-2", True, 0, None, 1, BINARY, "accuracy", {"train": 67349, "dev": 872}),
    "mrpc": GlueSet("MRPC", True, 3, 4, 0, BINARY, "accuracy", {"train": 3668, "dev": 408}),
    "cola": GlueSet("CoLA", False, 3, None, 1, BINARY, "matthews", {"train": 8551, "dev": 1043}),
    "qnli": GlueSet("QNLI", True, 1, 2, 3, ENTAILMENT, "accuracy", {"train": 104743, "dev": 5463}),
    "rte": GlueSet("RTE", True, 1, 2, 3, ENTAILMENT, "accuracy", {"train": 2490, "dev": 277}),
    "stsb": GlueSet("STS-B", True, 7, 8, 9, None, "pearson", {"train": 5749, "dev": 1500}),
}
"""In the order of the published table."""


@dataclass(frozen=True)
class SentencePair:
    """One example.

    Attributes:
        uid: set, split and line number among the data lines, from 0, e.g. ``rte/dev/12``.
        first: first sentence.
        second: second sentence, None where the set has one only.
        label: class id, or the score for a regression.
    """

    uid: str
    first: str
    second: str | None
    label: float


def find_glue(root: Path, name: str, split: GlueSplit) -> Path:
    """The file ``root``/FOLDER/SPLIT.tsv, packed with gzip or not.

    Raises:
        UserError: an unknown set, or no such file.
    """
    if name not in GLUE:
        raise UserError(f"there is no GLUE set {name}; choices: {', '.join(GLUE)}.")
    return _find(root / GLUE[name].folder / f"{split}.tsv")


def read_glue(root: Path, name: str, split: GlueSplit) -> list[SentencePair]:
    """All examples of one file.

    Raises:
        UserError: as :func:`find_glue`, or a line without its columns or with an unknown label.
    """
    path = find_glue(root, name, split)
    form = GLUE[name]
    text = decode(path, read_bytes(path)).removeprefix("\ufeff").replace("\r\n", "\n")
    # Quotation marks are text in these files: a quoting reader would join lines that begin with one.
    rows = [line.split("\t") for line in text.split("\n") if line][1 if form.header else 0 :]
    if not rows:
        raise UserError(f"data file {path} holds no rows.")
    return [_pair(path, f"{name}/{split}/{number}", form, row) for number, row in enumerate(rows)]


def halves(pairs: Sequence[SentencePair]) -> tuple[list[SentencePair], list[SentencePair]]:
    """One half to choose on, one to report: by a hash of the sentences, so that no order and no seed matters.

    Equal examples fall into the same half.
    """
    choose: list[SentencePair] = []
    report: list[SentencePair] = []
    for pair in pairs:
        digest = hashlib.sha256(f"{pair.first}\t{pair.second or ''}".encode()).digest()
        (choose if digest[0] % 2 == 0 else report).append(pair)
    return choose, report


def _find(path: Path) -> Path:
    packed = path.with_name(path.name + ".gz")
    for candidate in (path, packed):
        if candidate.is_file():
            return candidate
    raise UserError(f"data file {path} does not exist, nor does {packed.name}; check data.root.")


def _pair(path: Path, uid: str, form: GlueSet, row: Sequence[str]) -> SentencePair:
    needed = max(column for column in (form.first, form.second, form.label) if column is not None)
    if len(row) <= needed:
        raise UserError(f"data file {path}, row {uid} has {len(row)} columns and needs {needed + 1}.")
    written = row[form.label]
    try:
        label = float(written) if form.labels is None else float(form.labels.index(written))
    except ValueError as error:
        known = "a number" if form.labels is None else f"one of {', '.join(form.labels)}"
        raise UserError(f"data file {path}, row {uid}: the label {written!r} is not {known}.") from error
    return SentencePair(uid, row[form.first], None if form.second is None else row[form.second], label)
