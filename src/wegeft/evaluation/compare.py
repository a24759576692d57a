"""Whether an extracted answer is right: one small pure function per rule, chosen by name.

Does not: extract, aggregate, or read samples.
"""

import math
import re
from collections.abc import Callable
from typing import Literal

Comparison = Literal[
    "exact",
    "number",
    "leading_integer",
    "math",
    "program_sandboxed",
    "program_unsandboxed",
    "program_elsewhere",
    "judged",
    "constraints",
]

NUMBER_TOLERANCE = 0.001
"""Largest difference of two numbers that count as equal (LLM-Adapters, pyreft and WeGeFT agree on it)."""


def is_correct(comparison: Comparison, extracted: str | None, gold: str) -> bool:
    """Whether ``extracted`` counts as ``gold``; a missing answer is wrong."""
    return extracted is not None and COMPARISONS[comparison](extracted, gold)


def same_text(extracted: str, gold: str) -> bool:
    """Equal strings apart from surrounding white space; ``true.`` is not ``true``."""
    return extracted.strip() == gold.strip()


def same_number(extracted: str, gold: str) -> bool:
    """Two finite numbers at most 0.001 apart; commas in the gold answer are dropped as in the text."""
    left, right = _number(extracted), _number(gold)
    return math.isfinite(left) and abs(left - right) <= NUMBER_TOLERANCE


def same_leading_integer(extracted: str, gold: str) -> bool:
    """The digits that the gold answer begins with, or 0, are the number ``extracted``.

    How WeGeFT's MetaMathQA evaluation reads GSM8K's answers. QUIRK: of "57,500" it keeps 57.
    """
    digits = re.match(r"\s*(\d+)", gold)
    return int(extracted) == (int(digits.group(1)) if digits else 0)


def same_mathematics(extracted: str, gold: str) -> bool:
    """Two LaTeX expressions of the same value, by the rules of Hugging Face's math-verify; equal strings are equal."""
    if same_text(extracted, gold):
        return True
    from math_verify import parse, verify

    return bool(verify(parse(f"${gold}$"), parse(f"${extracted}$")))


def passes_tests(extracted: str, gold: str) -> bool:
    """Code that passes the tests of the problem ``gold``, run in the sandbox."""
    from wegeft.evaluation.code.judge import solves

    return solves(extracted, gold, "sandboxed")


def passes_tests_unsandboxed(extracted: str, gold: str) -> bool:
    """As :func:`passes_tests`, at the risk of the person who chose it."""
    from wegeft.evaluation.code.judge import solves

    return solves(extracted, gold, "unsandboxed")


def never_compared(extracted: str, gold: str) -> bool:
    """Only whether there is anything to compare; the answers are kept and ``mode=judge`` scores them."""
    return bool(extracted.strip() and gold.strip())


def meets_constraints(extracted: str, gold: str) -> bool:
    """A text that meets every constraint that ``gold`` states."""
    from wegeft.evaluation.judging.constraints import meets

    return meets(extracted, gold)


def _number(text: str) -> float:
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return math.nan


COMPARISONS: dict[Comparison, Callable[[str, str], bool]] = {
    "exact": same_text,
    "number": same_number,
    "leading_integer": same_leading_integer,
    "math": same_mathematics,
    "program_sandboxed": passes_tests,
    "program_unsandboxed": passes_tests_unsandboxed,
    "program_elsewhere": never_compared,
    "judged": never_compared,
    "constraints": meets_constraints,
}
