"""Where sentence pairs come from: the files of GLUE, or the mini world.

Does not: split or tokenise.
"""

import random
from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field

from wegeft.errors import UserError
from wegeft.evaluation.metrics import Metric
from wegeft.schema import Strict
from wegeft.tasks.glue import GLUE, SentencePair, find_glue, read_glue
from wegeft.tasks.mini_world import Split, commonsense
from wegeft.tasks.mini_world.world import World, build_world
from wegeft.tasks.sentences import SentenceSource, SentenceSplit


class GlueFilesConfig(Strict):
    """Where the official archives are unpacked.

    Attributes:
        root: the data root; None is refused when rows are first needed.
        folder: below it, with one folder per set (``RTE/train.tsv``, ``STS-B/dev.tsv`` …).
        subset: which set.
    """

    root: str | None
    folder: str
    subset: Literal["sst2", "mrpc", "cola", "qnli", "rte", "stsb"]


class GlueFiles(SentenceSource):
    """One set of GLUE (Wang et al., ICLR 2019)."""

    Config = GlueFilesConfig

    def __init__(self, config: GlueFilesConfig) -> None:
        self.config = config
        self._form = GLUE[config.subset]

    def pairs(self, split: SentenceSplit) -> Sequence[SentencePair]:
        """See :meth:`SentenceSource.pairs`."""
        return _read(self._root, self.config.subset, split)

    def check(self) -> None:
        """See :meth:`SentenceSource.check`."""
        for split in ("train", "dev"):
            find_glue(self._root, self.config.subset, split)

    def labels(self) -> tuple[str, ...] | None:
        """See :meth:`SentenceSource.labels`."""
        return self._form.labels

    def metric(self) -> Metric:
        """See :meth:`SentenceSource.metric`."""
        return self._form.metric

    def expected(self, split: SentenceSplit) -> int | None:
        """See :meth:`SentenceSource.expected`."""
        return self._form.rows[split]

    @property
    def _root(self) -> Path:
        if self.config.root is None:
            raise UserError(f"data.root is not set: give the folder that holds {self.config.folder}/.")
        return Path(self.config.root) / self.config.folder


@cache
def _read(root: Path, subset: str, split: SentenceSplit) -> list[SentencePair]:
    return read_glue(root, subset, split)


class MiniSentencesConfig(Strict):
    """Which world.

    Attributes:
        world_seed: the world; the shipped mini backbone knows the facts of world 0 and of no other.
    """

    world_seed: int = Field(ge=0)


class MiniSentences(SentenceSource):
    """Questions of the mini world, each once as it is asked and once with two neighbouring words swapped."""

    Config = MiniSentencesConfig
    subsets = ("ARC-Easy", "ARC-Challenge")

    def __init__(self, config: MiniSentencesConfig) -> None:
        self.config = config

    def pairs(self, split: SentenceSplit) -> Sequence[SentencePair]:
        """See :meth:`SentenceSource.pairs`."""
        return self._pairs[split]

    def check(self) -> None:
        """See :meth:`SentenceSource.check`; nothing can be missing."""

    def labels(self) -> tuple[str, ...]:
        """See :meth:`SentenceSource.labels`."""
        return ("swapped", "as_asked")

    def metric(self) -> Metric:
        """See :meth:`SentenceSource.metric`."""
        return "accuracy"

    def expected(self, split: SentenceSplit) -> int | None:
        """See :meth:`SentenceSource.expected`; nothing is published about generated rows."""
        del split
        return None

    @cached_property
    def _pairs(self) -> dict[SentenceSplit, list[SentencePair]]:
        world = build_world(self.config.world_seed)
        return {
            "train": [pair for subset in self.subsets for pair in _mini_sentences(world, subset, "train", "train")],
            "dev": [pair for subset in self.subsets for pair in _mini_sentences(world, subset, "test", "dev")],
        }


def _mini_sentences(world: World, subset: str, split: Split, called: str) -> list[SentencePair]:
    """Every question as it is asked (label 1) and swapped (label 0)."""
    pairs = []
    for number, item in enumerate(commonsense.items(world, subset, split)):
        uid = f"{subset}/{called}/{number}"
        pairs.append(SentencePair(f"{uid}/as_asked", item.text, None, 1.0))
        pairs.append(SentencePair(f"{uid}/swapped", _swapped(item.text, random.Random(uid)), None, 0.0))
    return pairs


def _swapped(text: str, rng: random.Random) -> str:
    """``text`` with two different neighbouring words in each other's place."""
    words = text.split(" ")
    places = [place for place in range(len(words) - 1) if words[place] != words[place + 1]]
    place = rng.choice(places)
    words[place], words[place + 1] = words[place + 1], words[place]
    return " ".join(words)
