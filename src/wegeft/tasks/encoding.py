"""The one place where text becomes token ids, for training and for generation alike.

An example is ``[BOS] prompt target [EOS]`` (``protocol.pad_first`` puts a pad id in front). Prompt ids for generation
are exactly the ids that training masks. Special tokens written out in the text stay ordinary text: the tokenizer splits
them, so that BOS, EOS and pad come from here alone, whatever the tokenizer adds by itself.

Does not: render prompts, shuffle, or move tensors to a device.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch

from wegeft.errors import UserError
from wegeft.tasks.base import Example
from wegeft.tasks.protocol import ProtocolConfig, Side

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

IntArray = np.ndarray[tuple[int], np.dtype[Any]]
"""A flat array of integers."""

IGNORE_INDEX = -100
"""Label without a loss (torch's cross entropy ignores it by default)."""

CHUNK = 4096
"""Texts tokenised per call: large enough for the tokenizer's own threads, small enough for a moving progress bar."""

RESERVED = re.compile(r"\bpad\b|_pad_|<pad>|\[pad\]|reserved|unused", re.IGNORECASE)
"""Names under which tokenizers keep ids that no text produces."""


@dataclass(frozen=True)
class Encoded:
    """Ids of one training example, without padding; the three lists have the same length.

    Attributes:
        input_ids: prompt and target with their special tokens.
        labels: ``input_ids`` where there is a loss, ``IGNORE_INDEX`` elsewhere.
        attention_mask: 1 where the position is read, 0 where it is not.
    """

    input_ids: list[int]
    labels: list[int]
    attention_mask: list[int]


@dataclass(frozen=True)
class Prompts:
    """Ids of prompts for generation.

    Attributes:
        input_ids: one list per prompt, not padded.
        too_long: positions of the prompts that ``protocol.max_length`` cuts or leaves out.
    """

    input_ids: list[list[int]]
    too_long: frozenset[int]


@dataclass(frozen=True, eq=False)
class EncodedSet(Sequence[Encoded]):
    """Many encoded examples in flat arrays, which a cache can hold as they are.

    Attributes:
        ids_N: int32, the examples' ids one after the other.
        ends: int64, for each example where it ends in ``ids_N``.
        prompt_lengths: int32, for each example how many of its first ids belong to the prompt.
        truncated: uids of examples that were cut (``truncation=right``).
        skipped: uids of examples that were left out (``truncation=skip``).
        protocol: rules by which labels and masks are derived.
        pad_id: id that the mask leaves out under ``mask_pad_by_id``.
    """

    ids_N: IntArray
    ends: IntArray
    prompt_lengths: IntArray
    truncated: tuple[str, ...]
    skipped: tuple[str, ...]
    protocol: ProtocolConfig
    pad_id: int

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> Encoded: ...

    @overload
    def __getitem__(self, index: slice) -> list[Encoded]: ...

    def __getitem__(self, index: int | slice) -> Encoded | list[Encoded]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        ids = self.ids_N[self.ends[index - 1] if index else 0 : self.ends[index]].tolist()
        return _with_labels(ids, int(self.prompt_lengths[index]), self.protocol, self.pad_id)

    def first(self, count: int) -> "EncodedSet":
        """The first ``count`` examples; no uids of examples that were cut or left out, which may lie behind them."""
        ends = self.ends[:count]
        ids_N = self.ids_N[: ends[-1]] if len(ends) else self.ids_N[:0]
        return replace(
            self, ids_N=ids_N, ends=ends, prompt_lengths=self.prompt_lengths[:count], truncated=(), skipped=()
        )


class TextEncoder:
    """Renders ids for one tokenizer under one protocol.

    Attributes:
        bos_id: first token of every example, or None if the tokenizer has no such token.
        eos_id: token that ends every target and stops generation.
        pad_id: id of padding; always one that the tokenizer, and so the model, has.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", protocol: ProtocolConfig) -> None:
        """Take the special tokens from ``tokenizer``.

        Raises:
            UserError: no EOS, or no id left for padding.
        """
        self.tokenizer = tokenizer
        self.protocol = protocol
        if not isinstance(tokenizer.eos_token_id, int):
            raise UserError(f"the tokenizer of {tokenizer.name_or_path} has no EOS token, so no answer could end.")
        self.bos_id = tokenizer.bos_token_id if isinstance(tokenizer.bos_token_id, int) else None
        self.eos_id = tokenizer.eos_token_id
        self.pad_id = _pad_id(tokenizer, protocol)
        self._backend: Tokenizer | None = getattr(tokenizer, "backend_tokenizer", None)
        self._reserved = {self.bos_id, self.eos_id} | (set() if protocol.mask_pad_by_id else {self.pad_id})

    def skipping_from(self, tokens: int) -> "TextEncoder":
        """The same encoder, which leaves out examples of ``tokens`` tokens and more, not counting EOS."""
        limit = {"max_length": min(tokens, self.protocol.max_length), "truncation": "skip"}
        return TextEncoder(self.tokenizer, self.protocol.model_copy(update=limit))

    def encode_prompt(self, prompt: str) -> list[int]:
        """Ids of one prompt, ready for generation; UserError if it is too long and the protocol refuses that."""
        return self.encode_prompts([prompt]).input_ids[0]

    def encode_prompts(self, prompts: Sequence[str], uids: Sequence[str] | None = None) -> Prompts:
        """Ids of many prompts; ``uids`` name them in messages.

        Raises:
            UserError: a prompt is longer than ``max_length`` under ``truncation=error``, or holds a special token.
        """
        names = uids if uids is not None else [f"prompt {number}" for number in range(len(prompts))]
        encoded, too_long = [], set()
        for position, (name, text_ids) in enumerate(zip(names, self._tokenise(prompts), strict=True)):
            ids = self._checked(name, self._start() + text_ids)
            if self._too_long(ids):
                self._refuse(name, ids, "prompt")
                too_long.add(position)
            encoded.append(self._finish(ids))
        return Prompts(encoded, frozenset(too_long))

    def encode_answers(self, prompts: Sequence[str], answers: Sequence[Sequence[str]]) -> list[list[list[int]]]:
        """For each prompt and each of its ``answers`` the ids that follow its own, EOS included, as in training."""
        pairs = self._tokenise_pairs(
            [
                Example("listed", "", prompt, one, "")
                for prompt, own in zip(prompts, answers, strict=True)
                for one in own
            ]
        )
        ids = (whole_ids[len(prompt_ids) :] for prompt_ids, whole_ids in pairs)
        return [[next(ids) for _ in own] for own in answers]

    def encode_example(self, example: Example) -> Encoded:
        """Ids and labels of one training example; UserError as in :meth:`encode_examples`."""
        encoded = self.encode_examples([example])
        if not len(encoded):
            raise UserError(f"row {example.uid} is longer than protocol.max_length={self.protocol.max_length}.")
        return encoded[0]

    def encode_examples(self, examples: Sequence[Example], advance: Callable[[int], None] | None = None) -> EncodedSet:
        """Ids of many training examples; ``advance`` is told how many more are done.

        Raises:
            UserError: an example is longer than ``max_length`` under ``truncation=error``, or holds a special token.
        """
        ids: list[IntArray] = []
        prompt_lengths: list[int] = []
        truncated: list[str] = []
        skipped: list[str] = []
        for first in range(0, len(examples), CHUNK):
            chunk = examples[first : first + CHUNK]
            for example, (prompt_ids, whole_ids) in zip(chunk, self._tokenise_pairs(chunk), strict=True):
                if self._too_long(whole_ids):
                    self._refuse(example.uid, whole_ids, "prompt with its target")
                    (skipped if self.protocol.truncation == "skip" else truncated).append(example.uid)
                    if self.protocol.truncation == "skip":
                        continue
                ids.append(np.asarray(self._finish(whole_ids), dtype=np.int32))
                prompt_lengths.append(min(len(self._finish(prompt_ids)), len(ids[-1])))
            if advance is not None:
                advance(len(chunk))
        return EncodedSet(
            ids_N=np.concatenate(ids) if ids else np.zeros(0, np.int32),
            ends=np.cumsum([len(item) for item in ids], dtype=np.int64),
            prompt_lengths=np.asarray(prompt_lengths, dtype=np.int32),
            truncated=tuple(truncated),
            skipped=tuple(skipped),
            protocol=self.protocol,
            pad_id=self.pad_id,
        )

    def collate_train(self, examples: Sequence[Encoded]) -> dict[str, torch.Tensor]:
        """One padded batch: int64 ``input_ids``, ``attention_mask``, ``position_ids`` and ``labels``, all (B, L)."""
        side = self.protocol.padding_side_train
        batch = self._padded([e.input_ids for e in examples], [e.attention_mask for e in examples], side)
        return batch | {"labels": _pad_BL([e.labels for e in examples], IGNORE_INDEX, side)}

    def collate_flat(self, examples: Sequence[Encoded]) -> dict[str, torch.Tensor]:
        """The examples one after the other, without padding: int64 ``input_ids``, ``position_ids``, ``labels``, (1, N).

        Positions restart at every example, from which transformers tells the examples apart and keeps their attention
        apart. A leading pad id, which nothing reads, is left out; no label asks an example for the start of the next.

        Raises:
            UserError: the protocol hides tokens inside an example, which needs a mask.
        """
        if self.protocol.mask_pad_by_id and any(0 in e.attention_mask[1:] for e in examples):
            raise UserError(
                "training.batching=flat has no mask, and protocol.mask_pad_by_id hides unknown tokens inside a text; "
                "set training.batching=padded."
            )
        read = [e.attention_mask.index(1) for e in examples]
        ids = [e.input_ids[first:] for e, first in zip(examples, read, strict=True)]
        labels = [[IGNORE_INDEX, *e.labels[first + 1 :]] for e, first in zip(examples, read, strict=True)]
        positions = [list(range(len(part))) for part in ids]
        flat = {"input_ids": ids, "position_ids": positions, "labels": labels}
        return {name: torch.tensor([list(chain.from_iterable(parts))]) for name, parts in flat.items()}

    def collate_prompts(self, prompts_ids: Sequence[list[int]], shared: int = 0) -> dict[str, torch.Tensor]:
        """One left-padded generation batch: int64 ``input_ids``, ``attention_mask``, ``position_ids``, all (B, L).

        Args:
            prompts_ids: not padded, each longer than ``shared``.
            shared: so many ids begin all prompts and have been run already. Then (B, L) is what follows them, with the
                padding in between, and the mask (B, shared + L) has columns for them too. Positions count from the
                start of the prompt and leave padding out, so that every token keeps the position that it has alone.
        """
        side = self.protocol.padding_side_eval
        masks = [_mask(ids, self.protocol, self.pad_id) for ids in prompts_ids]
        mask_BL = _pad_BL([mask[shared:] for mask in masks], 0, side)
        mask_BL = torch.cat([torch.tensor([mask[:shared] for mask in masks], dtype=torch.int64), mask_BL], dim=1)
        return {
            "input_ids": _pad_BL([ids[shared:] for ids in prompts_ids], self.pad_id, side),
            "attention_mask": mask_BL,
            "position_ids": _positions(mask_BL)[:, shared:],
        }

    def read_ids(self, prompt_ids: list[int]) -> list[int]:
        """The ids of a prompt that attention reads under the protocol, for engines that take no mask.

        Raises:
            UserError: the last one is hidden, from which the answer follows all the same.
        """
        mask = _mask(prompt_ids, self.protocol, self.pad_id)
        if not mask[-1]:
            raise UserError(
                "evaluation.engine=vllm has no mask, and protocol.mask_pad_by_id hides the last token of a prompt."
            )
        return [token for token, read in zip(prompt_ids, mask, strict=True) if read]

    def tokenizer_state(self) -> str | None:
        """All that decides how the tokenizer splits a text; None of one written in Python, whose code decides too."""
        return None if self._backend is None else str(self._backend.to_str())

    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated ids, without special tokens and with every blank as it was generated."""
        text = self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text if isinstance(text, str) else "".join(text)

    def _padded(self, ids: Sequence[list[int]], masks: Sequence[list[int]], side: Side) -> dict[str, torch.Tensor]:
        mask_BL = _pad_BL(masks, 0, side)
        return {
            "input_ids": _pad_BL(ids, self.pad_id, side),
            "attention_mask": mask_BL,
            "position_ids": _positions(mask_BL),
        }

    def _tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of the bare texts; special tokens spelt out in a text are split like any other characters."""
        if not texts:
            return []
        if self._backend is not None:
            return _tokenise_fast(self._backend, texts)
        encoding = self.tokenizer(
            list(texts),
            add_special_tokens=False,
            split_special_tokens=True,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        return list(encoding["input_ids"])

    def _tokenise_pairs(self, examples: Sequence[Example]) -> Iterator[tuple[list[int], list[int]]]:
        """For each example the ids of its prompt, and of prompt, target and EOS; the former begin the latter.

        Prompt and target are tokenised together, as the official code does. Where a tokenizer merges characters
        across the seam, the target is tokenised alone instead, so that the model is trained on what it will read.
        """
        prompts = self._tokenise([example.prompt for example in examples])
        wholes = self._tokenise([example.prompt + example.target for example in examples])
        for example, prompt_ids, whole_ids in zip(examples, prompts, wholes, strict=True):
            if whole_ids[: len(prompt_ids)] != prompt_ids or len(whole_ids) == len(prompt_ids):
                whole_ids = prompt_ids + self._tokenise([example.target])[0]
            self._checked(example.uid, self._start() + whole_ids)
            yield self._start() + prompt_ids, self._start() + whole_ids + [self.eos_id]

    def _start(self) -> list[int]:
        return [] if self.bos_id is None else [self.bos_id]

    def _finish(self, ids: list[int]) -> list[int]:
        """Cut to ``max_length`` and put the leading pad id in front, where the protocol has one."""
        return ([self.pad_id] if self.protocol.pad_first else []) + ids[: self.protocol.max_length]

    def _too_long(self, ids: list[int]) -> bool:
        return len(ids) > self.protocol.max_length

    def _refuse(self, name: str, ids: list[int], what: str) -> None:
        if self.protocol.truncation == "error":
            raise UserError(
                f"row {name}: its {what} is {len(ids)} tokens long and protocol.max_length={self.protocol.max_length}; "
                "protocol.truncation=skip leaves such rows out and counts them, =right cuts their end."
            )

    def _checked(self, name: str, ids: list[int]) -> list[int]:
        """``ids``, which must hold no special token but the BOS at their start."""
        if not self._reserved.isdisjoint(ids[len(self._start()) :]):
            raise UserError(
                f"row {name}: its text gives a special token (BOS {self.bos_id}, EOS {self.eos_id}, "
                f"pad {self.pad_id}); choose another protocol.pad_token or mend the row."
            )
        return ids


def _tokenise_fast(backend: "Tokenizer", texts: Sequence[str]) -> list[list[int]]:
    """As the wrapper's call with ``split_special_tokens``, without its work on offsets and types: twice as fast."""
    backend.no_truncation()  # the wrapper leaves the settings of its last call behind, and sets them anew in its next
    backend.no_padding()
    splits, backend.encode_special_tokens = backend.encode_special_tokens, True
    try:
        return [list(e.ids) for e in backend.encode_batch_fast(list(texts), add_special_tokens=False)]
    finally:
        backend.encode_special_tokens = splits


def _with_labels(ids: list[int], prompt_length: int, protocol: ProtocolConfig, pad_id: int) -> Encoded:
    mask = _mask(ids, protocol, pad_id)
    read = [*mask, 1].index(1)  # the first position that is read, which nothing predicts
    start = max(read + 1, 0 if protocol.train_on_inputs else prompt_length)
    return Encoded(ids, ([IGNORE_INDEX] * start + ids[start:])[: len(ids)], mask)


def _mask(ids: list[int], protocol: ProtocolConfig, pad_id: int) -> list[int]:
    """1 where a position is read: not on the leading pad id, nor (``mask_pad_by_id``) on any id equal to pad."""
    if protocol.mask_pad_by_id:
        return [int(token != pad_id) for token in ids]
    return [int(not (protocol.pad_first and position == 0)) for position in range(len(ids))]


def _pad_BL(rows: Sequence[list[int]], value: int, side: Side) -> torch.Tensor:
    """Rows of different lengths as one int64 tensor (B, L)."""
    length = max(len(row) for row in rows)
    fill = [[value] * (length - len(row)) for row in rows]
    padded = [f + row if side == "left" else row + f for f, row in zip(fill, rows, strict=True)]
    return torch.tensor(padded, dtype=torch.int64)


def _positions(mask_BL: torch.Tensor) -> torch.Tensor:
    """Position of every id among those that are read, (B, L)."""
    return (mask_BL.cumsum(dim=1) - 1).clamp(min=0)


def _pad_id(tokenizer: "PreTrainedTokenizerBase", protocol: ProtocolConfig) -> int:
    """The id that pads.

    ``unk`` is the official choice. Where there is no unknown token (Llama 3), the official code adds a [PAD] token and
    a row to the embeddings; as nothing ever reads that row, the id of ``dedicated`` gives the same numbers without it.

    ``dedicated`` prefers the tokenizer's own pad token if it serves nothing else, then a token reserved by name, then
    the unknown token, which byte-level vocabularies never produce (:class:`TextEncoder` refuses a text that does).
    """
    unknown = tokenizer.unk_token_id
    if protocol.pad_token == "unk" and isinstance(unknown, int):
        return unknown
    own, used = tokenizer.pad_token_id, {tokenizer.bos_token_id, tokenizer.eos_token_id, unknown}
    if isinstance(own, int) and own not in used:
        return own
    reserved = [
        (("pad" not in token.content.lower()), id_)
        for id_, token in tokenizer.added_tokens_decoder.items()
        if RESERVED.search(token.content) and id_ not in used
    ]
    if reserved:
        return min(reserved)[1]
    if isinstance(unknown, int) and unknown not in {tokenizer.bos_token_id, tokenizer.eos_token_id}:
        return unknown
    raise UserError(f"the tokenizer of {tokenizer.name_or_path} has no id that text never produces, to pad with.")
