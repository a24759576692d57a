"""What runs a language model over questions: token ids in, token ids out, batch by batch.

Does not: encode prompts, read answers, or keep them (``wegeft.evaluation.lm`` does).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from wegeft.evaluation.decoding import DecodingConfig

IsDecided = Callable[[int, list[int]], bool]
"""Whether an answer may end here: asked with the position of its prompt and the ids so far."""


def never(_position: int, _ids: list[int]) -> bool:
    """An answer ends at EOS alone."""
    return False


@dataclass(frozen=True)
class Questions:
    """Prompts that are answered alike.

    Attributes:
        prompts_ids: not padded.
        sets: for each, the test set that it is of.
        streams: for each, the name of its random stream.
        max_new_tokens: EOS counts as one.
        decoding: how tokens are chosen.
        is_decided: tells an engine that it may end an answer before EOS; it need not ask.
        listed: for each, the ids of the answers that can be written, EOS included; None where all can.
    """

    prompts_ids: Sequence[list[int]]
    sets: Sequence[str]
    streams: Sequence[str]
    max_new_tokens: int
    decoding: DecodingConfig
    is_decided: IsDecided = never
    listed: Sequence[Sequence[list[int]]] | None = None


class Session(Protocol):
    """One set of questions in work.

    Attributes:
        batches: positions of the questions that are answered together.
    """

    batches: Sequence[Sequence[int]]

    def answer(self, batch: Sequence[int]) -> list[list[int]]:
        """Ids generated for the questions of one of :attr:`batches`, EOS included if it was written, in its order."""


class Engine(Protocol):
    """See the module."""

    @property
    def batch_size(self) -> int:
        """Questions that were answered together."""

    def ask(self, questions: Questions) -> Session:
        """Stand ready to answer ``questions``."""
