"""The file of answers that every evaluation leaves behind, ``samples.jsonl``: one JSON object per answer.

It is written in one step when the evaluation is over (``wegeft.evaluation.journal`` keeps the answers until then), in
the order of the test sets.

Does not: generate or extract.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from wegeft.errors import UserError
from wegeft.files import write_atomically

SAMPLES = "samples.jsonl"


@dataclass(frozen=True)
class Sample:
    """One answer.

    Attributes:
        uid: the question, see :class:`wegeft.tasks.base.Example`.
        subset: its test set; ``gsm8k/greedy`` for an answer by the second way of decoding ``greedy``.
        prompt_sha256: hash of the rendered prompt.
        prompt_ids_n: length of the prompt in tokens, specials included.
        text: what the model wrote, special tokens removed.
        extracted: the answer found in ``text``; None if there was none.
        gold: the right answer.
        score: 1.0 if it was found right, else 0.0; None as long as nobody has scored it.
        extractor: rule behind ``extracted``.
        extractor_version: its version.
        others: further rules by name, each with its ``extracted`` and ``score``.
        repeat: number of the answer, where a question is answered several times.
    """

    uid: str
    subset: str
    prompt_sha256: str
    prompt_ids_n: int
    text: str
    extracted: str | None
    gold: str
    score: float | None
    extractor: str
    extractor_version: int
    others: dict[str, dict[str, Any]] = field(default_factory=dict)
    repeat: int = 0


def unscored(sample: Sample) -> Sample:
    """``sample`` before anybody has said whether it is right."""
    others = {rule: {**found, "score": None} for rule, found in sample.others.items()}
    return replace(sample, score=None, others=others)


def write_samples(samples: Sequence[Sample], folder: Path) -> Path:
    """Put the whole file in place; returns its path."""
    path = folder / SAMPLES
    lines = [json.dumps(asdict(sample), ensure_ascii=False) for sample in samples]
    write_atomically(path, "".join(line + "\n" for line in lines).encode())
    return path


def read_samples(path: Path) -> list[Sample]:
    """All samples of a file.

    Raises:
        UserError: no such file, or a line that is not a sample; the sentence names file and line.
    """
    if not path.is_file():
        raise UserError(f"there are no samples at {path}.")
    if not path.stat().st_size:
        raise UserError(f"{path} holds no samples.")
    samples = []
    # Not splitlines(), which also splits at the line separators that JSON leaves as they are within a text.
    for number, line in enumerate(path.read_bytes().removesuffix(b"\n").split(b"\n"), start=1):
        try:
            samples.append(Sample(**json.loads(line)))
        except (ValueError, TypeError) as error:  # ValueError: no JSON, or not UTF-8
            raise UserError(f"{path}, line {number} is not a sample: {error}.") from error
    return samples
