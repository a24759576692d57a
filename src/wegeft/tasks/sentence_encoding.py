"""Sentences and pairs as token ids and padded batches, with the special tokens that the tokenizer puts around them.

Does not: read files or know labels' names.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from wegeft.models.transformers_source import pad_id
from wegeft.tasks.glue import SentencePair

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class EncodedPair:
    """One example as the network reads it.

    Attributes:
        pair: the example.
        input_ids: without padding, special tokens included.
    """

    pair: SentencePair
    input_ids: tuple[int, ...]


class SentenceEncoder:
    """Encodes for one tokenizer.

    Attributes:
        pad_id: id of padding.
        cut: how many examples were cut to ``max_length`` so far.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", max_length: int) -> None:
        self._tokenizer = tokenizer
        self._max_length = max_length
        self.pad_id = pad_id(tokenizer)
        self.cut = 0

    def encode(self, pairs: Sequence[SentencePair]) -> list[EncodedPair]:
        """Ids of ``pairs``, cut where they are too long; special tokens spelt out in a text are split like any word."""
        return [EncodedPair(pair, tuple(self._ids(pair))) for pair in pairs]

    def collate(self, examples: Sequence[EncodedPair]) -> dict[str, torch.Tensor]:
        """int64 ``input_ids`` and ``attention_mask``, (B, L), padded on the right, and ``labels_B`` in fp32."""
        length = max(len(example.input_ids) for example in examples)
        ids = [[*e.input_ids, *[self.pad_id] * (length - len(e.input_ids))] for e in examples]
        masks = [[1] * len(e.input_ids) + [0] * (length - len(e.input_ids)) for e in examples]
        return {
            "input_ids": torch.tensor(ids),
            "attention_mask": torch.tensor(masks),
            "labels_B": torch.tensor([example.pair.label for example in examples]),
        }

    def _ids(self, pair: SentencePair) -> list[int]:
        texts = (pair.first,) if pair.second is None else (pair.first, pair.second)
        ids: list[int] = self._tokenizer(*texts, split_special_tokens=True, verbose=False)["input_ids"]
        if len(ids) <= self._max_length:
            return ids
        self.cut += 1
        options = {"truncation": True, "max_length": self._max_length, "split_special_tokens": True}
        short: list[int] = self._tokenizer(*texts, **options)["input_ids"]
        return short
