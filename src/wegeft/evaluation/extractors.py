"""From generated text to the answer that is compared: pure functions of the text, each with a version.

A change of what any input gives raises ``version``; samples keep the raw text and the version, so that old runs can be
scored again. An extractor never sees the gold answer.

Does not: compare (``wegeft.evaluation.compare``) or decode tokens.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import ClassVar, Literal

from pydantic import Field

from wegeft.schema import Strict

Decided = Callable[[str], bool]
"""Tells of the beginning of an answer whether what is read in it stays the same, whatever follows."""


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

    def decided(self) -> Decided | None:
        """What tells that no continuation changes what :meth:`extract` gives; None where only the whole text does."""
        return None


def decided_for_all(rules: Iterable[Extractor]) -> Decided | None:
    """What tells that an answer is decided for each of ``rules``; None if one of them reads the whole text."""
    own = [rule.decided() for rule in rules]
    known = [tells for tells in own if tells is not None]
    return (lambda text: all(tells(text) for tells in known)) if len(known) == len(own) else None


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


class MarkerConfig(Strict):
    """Where in the generated text to read.

    Attributes:
        marker: heading that announces an answer; the prompt ends with one.
        occurrence: ``last`` reads after the last heading that the model wrote itself, if it did; ``first`` means the
            prompt's own, so all that the model wrote.
    """

    marker: str = Field(min_length=1)
    occurrence: Literal["last", "first"]


class AfterMarker(Extractor):
    """What the rules for worked solutions share: which part of the text they read."""

    Config = MarkerConfig

    def __init__(self, config: MarkerConfig) -> None:
        self.config = config

    def extract(self, text: str) -> str | None:
        """See :meth:`Extractor.extract`."""
        return self.read(text.rpartition(self.config.marker)[2] if self.config.occurrence == "last" else text)

    @abstractmethod
    def read(self, answer: str) -> str | None:
        """The answer in the part of the text that counts."""


class LastNumber(AfterMarker):
    r"""The last number of the text, commas dropped; a sign, digits, and a fraction if there is one.

    The rule of the arithmetic tasks in LLM-Adapters, pyreft and WeGeFT: ``-?\d+\.?\d*`` after removing commas.
    """

    version = 1
    pattern = re.compile(r"-?\d+\.?\d*")

    def read(self, answer: str) -> str | None:
        """See :meth:`AfterMarker.read`."""
        numbers = self.pattern.findall(answer.replace(",", ""))
        return numbers[-1] if numbers else None


class FirstLetter(AfterMarker):
    """The first capital letter of A to E anywhere in the text: the official AQuA rule.

    It takes the article of "A train ..." and the C of "Converting" for answers; :class:`ChoiceLetter` does not.
    """

    version = 1

    def read(self, answer: str) -> str | None:
        """See :meth:`AfterMarker.read`."""
        match = re.search(r"[A-E]", answer)
        return match.group() if match else None


class ChoiceLetter(AfterMarker):
    """The letter of A to E that the text gives as its choice: the strict AQuA rule.

    The last announced letter ("the answer is C", "answer: (C)"); without one, a bracketed letter if all bracketed
    letters are the same (a text that lists the choices again has made none); without one, a text that begins with a
    letter standing alone on its line ("C", "C)", "C."). The article of "A train ..." never counts.
    """

    version = 1
    announced = re.compile(r"answer(?:\s+choice)?(?:\s+is)?\s*:?\s*\(?([A-E])\b", re.IGNORECASE)
    bracketed = re.compile(r"\(([A-E])\)")
    alone = re.compile(r"\s*([A-E])\s*[).:]?\s*(?:\n|$)")

    def read(self, answer: str) -> str | None:
        """See :meth:`AfterMarker.read`."""
        announced = [letter for letter in self.announced.findall(answer) if letter.isupper()]
        if announced:
            return str(announced[-1])
        bracketed = set(self.bracketed.findall(answer))
        if bracketed:
            return str(bracketed.pop()) if len(bracketed) == 1 else None
        match = self.alone.match(answer)
        return match.group(1) if match else None
