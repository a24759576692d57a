"""What runs a language model over questions: token ids in, token ids out, batch by batch.

Does not: encode prompts, read answers, or keep them (``wegeft.evaluation.lm`` does).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from wegeft.evaluation.decoding import DecodingConfig


@dataclass(frozen=True)
class Questions:
    """Prompts that are answered alike.

    Attributes:
        prompts_ids: not padded.
        sets: for each, the test set that it is of.
        streams: for each, the name of its random stream.
        max_new_tokens: EOS counts as one.
        decoding: how tokens are chosen.
    """

    prompts_ids: Sequence[list[int]]
    sets: Sequence[str]
    streams: Sequence[str]
    max_new_tokens: int
    decoding: DecodingConfig


class Session(Protocol):
    """One set of questions in work.

    Attributes:
        batches: positions of the questions that are answered together.
    """

    batches: Sequence[Sequence[int]]

    def answer(self, batch: Sequence[int]) -> list[list[int]]:
        """Ids generated for the questions of one of :attr:`batches`, EOS included, in its order."""


class Engine(Protocol):
    """See the module."""

    @property
    def batch_size(self) -> int:
        """Questions that were answered together."""

    def ask(self, questions: Questions) -> Session:
        """Stand ready to answer ``questions``."""
