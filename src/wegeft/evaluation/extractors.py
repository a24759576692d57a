"""From generated text to the answer that is compared: pure functions of the text, each with a version.

A change of what any input gives raises ``version``; samples keep the raw text and the version, so that old runs can be
scored again. An extractor never sees the gold answer.

Does not: compare (``wegeft.evaluation.compare``) or decode tokens.
"""

import re
from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from pydantic import Field

from wegeft.schema import Strict


class Extractor(ABC):
    """One rule; ``version`` belongs to the class and not to its config."""

    Config: ClassVar[type[Strict]]
    version: ClassVar[int]

    @property
    def label(self) -> str:
        """Name of the rule as samples and records print it."""
        return type(self).__name__

    @abstractmethod
    def extract(self, text: str) -> str | None:
        """The answer in ``text`` (what the model wrote, without the prompt), or None if there is none."""

    def announce(self, answer: str) -> str:
        """The plainest text in which the rule should find ``answer``."""
        return answer


class AfterTriggerConfig(Strict):
    """Which phrase announces the answer.

    Attributes:
        trigger: the phrase, without a trailing blank.
        occurrence: which occurrence counts when the phrase is repeated.
        trigger_space: the phrase counts only where a blank follows it.
    """

    trigger: str = Field(min_length=1)
    occurrence: Literal["last", "first"]
    trigger_space: bool


class AfterTrigger(Extractor):
    """Everything after the trigger phrase, stripped; None if the phrase or what follows it is missing.

    The rule of the commonsense tasks: WeGeFT's official code takes the last occurrence, its v3 the first one with a
    trailing blank. Both search prompt and answer together; no prompt of these data sets holds the phrase, so that
    searching the answer alone gives the same.
    """

    Config = AfterTriggerConfig
    version = 1

    def __init__(self, config: AfterTriggerConfig) -> None:
        self.trigger = config.trigger + (" " if config.trigger_space else "")
        self.occurrence = config.occurrence

    def extract(self, text: str) -> str | None:
        """See :meth:`Extractor.extract`."""
        split = text.rpartition if self.occurrence == "last" else text.partition
        _, found, rest = split(self.trigger)
        return (rest.strip() or None) if found else None

    def announce(self, answer: str) -> str:
        """See :meth:`Extractor.announce`."""
        return f"{self.trigger.rstrip()} {answer}"


class NoOptions(Strict):
    """A rule without settings."""


class LastNumber(Extractor):
    r"""The last number of the text, commas dropped; a sign, digits, and a fraction if there is one.

    The rule of the arithmetic tasks in LLM-Adapters, pyreft and WeGeFT: ``-?\d+\.?\d*`` after removing commas.
    """

    Config = NoOptions
    version = 1
    pattern = re.compile(r"-?\d+\.?\d*")

    def __init__(self, config: NoOptions | None = None) -> None:
        self.config = config

    def extract(self, text: str) -> str | None:
        """See :meth:`Extractor.extract`."""
        numbers = self.pattern.findall(text.replace(",", ""))
        return numbers[-1] if numbers else None


class FirstLetter(Extractor):
    """The first capital letter of A to E anywhere in the text: the official AQuA rule.

    It takes the article of "A train ..." and the C of "Converting" for answers; :class:`ChoiceLetter` does not.
    """

    Config = NoOptions
    version = 1

    def __init__(self, config: NoOptions | None = None) -> None:
        self.config = config

    def extract(self, text: str) -> str | None:
        """See :meth:`Extractor.extract`."""
        match = re.search(r"[A-E]", text)
        return match.group() if match else None


class ChoiceLetter(Extractor):
    """The letter of A to E that the text gives as its choice: the strict AQuA rule.

    The last announced letter ("the answer is C", "answer: (C)"); without one, a bracketed letter if all bracketed
    letters are the same (a text that lists the choices again has made none); without one, a text that begins with a
    letter standing alone on its line ("C", "C)", "C."). The article of "A train ..." never counts.
    """

    Config = NoOptions
    version = 1
    announced = re.compile(r"answer(?:\s+choice)?(?:\s+is)?\s*:?\s*\(?([A-E])\b", re.IGNORECASE)
    bracketed = re.compile(r"\(([A-E])\)")
    alone = re.compile(r"\s*([A-E])\s*[).:]?\s*(?:\n|$)")

    def __init__(self, config: NoOptions | None = None) -> None:
        self.config = config

    def extract(self, text: str) -> str | None:
        """See :meth:`Extractor.extract`."""
        announced = [letter for letter in self.announced.findall(text) if letter.isupper()]
        if announced:
            return str(announced[-1])
        bracketed = set(self.bracketed.findall(text))
        if bracketed:
            return str(bracketed.pop()) if len(bracketed) == 1 else None
        match = self.alone.match(text)
        return match.group(1) if match else None
