"""Which questions a run got right, small enough to be kept in its record.

Paired tests between runs need the outcome of every question; the answers themselves stay in the run's own folder. A
set of outcomes carries a digest of its questions, so that only runs that were asked the same can be paired. Beside
them stand a few answers, right and wrong, to look at.

Does not: judge answers, or compare runs.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wegeft.evaluation.samples import Sample

EXAMPLES_PER_SUBSET = 2
"""Most right and most wrong answers of one subset that a record keeps."""
EXAMPLE_LENGTH = 500
"""Characters of an answer that a record keeps."""


def pack(answers: Iterable["Sample"]) -> dict[str, dict[str, str]]:
    """By subset: ``questions``, a digest of the question ids in order, and ``right``, a bit per question in hex.

    The first question is the highest bit; the last digit is filled with zeros. A subset whose scores are not all 0 or
    1, or whose questions are answered several times, is left out.
    """
    by_subset: dict[str, list[Sample]] = {}
    for answer in answers:
        by_subset.setdefault(answer.subset, []).append(answer)
    return {
        subset: {"questions": _digest(found), "right": _to_hex([answer.score == 1 for answer in found])}
        for subset, found in by_subset.items()
        if all(answer.score in (0, 1) and answer.repeat == 0 for answer in found)
    }


def unpack(outcome: Mapping[str, str], n: int) -> list[bool]:
    """The ``n`` outcomes of one packed subset, in the order of its questions.

    Raises:
        ValueError: the digits do not hold exactly ``n`` outcomes.
    """
    digits = outcome["right"]
    if len(digits) != -(-n // 4):
        raise ValueError(f"{len(digits)} digits do not hold {n} outcomes")
    bits = f"{int(digits or '0', 16):0{4 * len(digits)}b}"
    return [bit == "1" for bit in bits[:n]]


def pick_examples(answers: Iterable["Sample"]) -> list[dict[str, Any]]:
    """The first right and the first wrong answers of each subset, long ones cut."""
    kept: dict[tuple[str, bool], int] = {}
    examples = []
    for answer in answers:
        place = (answer.subset, answer.score == 1)
        kept[place] = kept.get(place, 0) + 1
        if kept[place] <= EXAMPLES_PER_SUBSET:
            examples.append(
                {
                    "uid": answer.uid,
                    "subset": answer.subset,
                    "text": answer.text[:EXAMPLE_LENGTH],
                    "extracted": answer.extracted and answer.extracted[:EXAMPLE_LENGTH],
                    "gold": answer.gold[:EXAMPLE_LENGTH],
                    "score": answer.score,
                }
            )
    return examples


def _digest(answers: Sequence["Sample"]) -> str:
    return hashlib.sha256("\n".join(answer.uid for answer in answers).encode()).hexdigest()[:16]


def _to_hex(right: Sequence[bool]) -> str:
    padded = [*right, *[False] * (-len(right) % 4)]
    digits = (padded[start : start + 4] for start in range(0, len(padded), 4))
    return "".join(f"{int(''.join('01'[bit] for bit in digit), 2):x}" for digit in digits)
