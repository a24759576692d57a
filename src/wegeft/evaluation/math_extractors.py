"""Extraction rules of the MetaMathQA experiments: the number after ``####`` (GSM8K), the content of a box (MATH).

Does not: compare; ``compare=number`` and ``compare=math`` do.
"""

import re

from wegeft.evaluation.extractors import Extractor
from wegeft.schema import Strict

ANNOUNCEMENT = "The answer is: "
"""How every solution of MetaMathQA announces its answer."""


class NoOptions(Strict):
    """A rule without settings."""


class HashRule(Extractor):
    """What the two GSM8K rules share: an answer is announced by ``####``."""

    Config = NoOptions

    def __init__(self, config: NoOptions | None = None) -> None:
        self.config = config

    def announce(self, answer: str) -> str:
        """See :meth:`Extractor.announce`."""
        return f"#### {answer}"


class FirstHashInteger(HashRule):
    """The digits after the first ``####``, or 0: the official rule (WeGeFT's MetaMathQA evaluation, from LoRA-GA).

    QUIRK: signs, commas and decimals are cut, so that "57,500" reads 57, and no answer at all reads 0.
    """

    version = 1

    def extract(self, text: str) -> str | None:
        """See :meth:`Extractor.extract`; never None."""
        match = re.search(r"####\s*(\d+)", text)
        return match.group(1) if match else "0"


class LastHashNumber(HashRule):
    """The number after the last ``####``, with its sign and fraction, commas dropped."""

    version = 1

    def extract(self, text: str) -> str | None:
        """See :meth:`Extractor.extract`."""
        found = re.findall(r"####\s*\$?\s*(-?[\d,]*\.?\d+)", text)
        return found[-1].replace(",", "") if found else None


class Boxed(Extractor):
    r"""The content of the last ``\boxed{...}``, braces matched: how MATH marks its answers."""

    Config = NoOptions
    version = 1

    def __init__(self, config: NoOptions | None = None) -> None:
        self.config = config

    def extract(self, text: str) -> str | None:
        """See :meth:`Extractor.extract`."""
        start = text.rfind("\\boxed{")
        if start < 0:
            return None
        first = start + len("\\boxed{")
        depth = 1
        for position in range(first, len(text)):
            depth += {"{": 1, "}": -1}.get(text[position], 0)
            if depth == 0:
                return text[first:position].strip() or None
        return None

    def announce(self, answer: str) -> str:
        """See :meth:`Extractor.announce`."""
        return f"\\boxed{{{answer}}}"


class MathAnswer(Boxed):
    """The answer to a MATH question in any of the forms that solutions are written in.

    The last box; without one, the line after the last ``The answer is:`` (MetaMathQA); without one, the line after the
    last ``####`` (GSM8K). A full stop at the end, and dollar signs around the answer, are dropped.
    """

    version = 1

    def extract(self, text: str) -> str | None:
        """See :meth:`Extractor.extract`."""
        boxed = super().extract(text)
        if boxed is not None:
            return boxed
        for announcement in (ANNOUNCEMENT.strip(), "####"):
            _, announced, rest = text.rpartition(announcement)
            if announced:
                return rest.strip().split("\n")[0].strip().removesuffix(".").strip("$ ") or None
        return None
