"""A judge by rules: whether a text does what an instruction with checkable constraints asks for.

No model judges here; a text is right if it meets every constraint, whatever else may be said of it.

Does not: pose instructions (``wegeft.tasks.instruction_mini`` does).
"""

import json
from typing import ClassVar

from wegeft.evaluation.extractors import Extractor
from wegeft.evaluation.math_extractors import NoOptions


class RuleJudge(Extractor):
    """All that the model wrote, for the comparison ``constraints``, which knows what was asked."""

    Config: ClassVar[type[NoOptions]] = NoOptions
    version = 1

    def __init__(self, config: NoOptions) -> None:
        self.config = config

    def extract(self, text: str) -> str | None:
        """See :meth:`Extractor.extract`."""
        return text.strip() or None

    def announce(self, answer: str) -> str:
        """See :meth:`Extractor.announce`; the text that was asked for."""
        wanted = json.loads(answer)
        return f"{wanted['words']}{wanted['ending']}"


class WholeText(Extractor):
    """All that the model wrote, for a judge."""

    Config: ClassVar[type[NoOptions]] = NoOptions
    version = 1

    def __init__(self, config: NoOptions) -> None:
        self.config = config

    def extract(self, text: str) -> str | None:
        """See :meth:`Extractor.extract`."""
        return text.strip() or None


def meets(text: str, gold: str) -> bool:
    """Whether ``text`` meets the constraints in ``gold``.

    Args:
        text: what was written.
        gold: JSON with ``words``, which must be written in that order and no others; ``ending``, the last character.
    """
    wanted = json.loads(gold)
    written = text.strip().removesuffix(wanted["ending"])
    return text.strip().endswith(wanted["ending"]) and written.split() == wanted["words"].split()
