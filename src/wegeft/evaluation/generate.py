"""Decoding in batches: the same text for a prompt, whatever it is batched with.

Prompts are decoded longest first, left-padded, with an attention mask and position ids that ignore the padding, over
the model's key-value cache, which may begin with what all prompts have in common. A finished answer leaves the batch
once half of the batch is done.

An answer ends at EOS, at the limit, or where the caller says that it is decided, which is asked whenever the answer has
grown by :data:`LOOK_EVERY` tokens, so that where it ends does not depend on the batch either. Few rules can tell: code
is the first block, and nothing after it counts. The others take the last occurrence, all that follows a phrase, or the
whole text, and the two that take the first letter or number (official for AQuA, and for GSM8K in MetaMathQA) stand
beside one that does not.

Does not: choose tokens (``wegeft.evaluation.decoding`` does), search with beams, decode text, or know when an answer is
decided (its extraction rules do).
"""

import inspect
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from wegeft.evaluation.decoding import Chooser
from wegeft.evaluation.engine import IsDecided, never
from wegeft.evaluation.shared_prefix import Prefix
from wegeft.tasks.encoding import TextEncoder
from wegeft.training.transfer import to_device

OnAnswer = Callable[[int, list[int]], None]
"""Told the position of a prompt and the ids generated for it, EOS included, as soon as they are known."""
LOOK_EVERY = 16
"""Tokens between two looks at whether an answer is decided; it is the most that one grows in vain."""


@torch.inference_mode()
def generate(
    model: nn.Module,
    encoder: TextEncoder,
    prompts_ids: Sequence[list[int]],
    max_new_tokens: int,
    batch_size: int,
    chooser: Chooser,
    on_answer: OnAnswer,
    prefix: Prefix | None = None,
    is_decided: IsDecided = never,
) -> None:
    """Answer every prompt with at most ``max_new_tokens`` tokens.

    Args:
        model: a transformers causal language model in evaluation mode.
        encoder: pads the prompts and knows EOS, which ends an answer.
        prompts_ids: not padded.
        max_new_tokens: EOS counts as one.
        batch_size: prompts decoded together.
        chooser: chooses each token; made for these prompts.
        on_answer: called once per prompt, in the order in which batches finish.
        prefix: what all prompts begin with, run through ``model`` before.
        is_decided: whether an answer may end before EOS.
    """

    def is_over(position: int, ids: list[int]) -> bool:
        return ids[-1] == encoder.eos_id or (len(ids) % LOOK_EVERY == 0 and is_decided(position, ids))

    for positions in batches(prompts_ids, batch_size):
        batch = encoder.collate_prompts([prompts_ids[p] for p in positions], prefix.length if prefix else 0)
        state = _State(model, batch, positions, prefix.cache(len(positions)) if prefix else None)
        for position, ids in _answers(state, chooser, is_over, max_new_tokens):
            on_answer(position, ids)


def batches(prompts_ids: Sequence[Sequence[int]], batch_size: int) -> list[list[int]]:
    """Positions of the prompts that are decoded together, longest first."""
    order = sorted(range(len(prompts_ids)), key=lambda position: (-len(prompts_ids[position]), position))
    return [order[first : first + batch_size] for first in range(0, len(order), batch_size)]


def _answers(
    state: "_State", chooser: Chooser, is_over: IsDecided, max_new_tokens: int
) -> Iterator[tuple[int, list[int]]]:
    """Position of a prompt and its generated ids, prompt by prompt as the answers finish."""
    texts: dict[int, list[int]] = {position: [] for position in state.positions}
    answers = dict(texts)
    for _ in range(max_new_tokens):
        tokens = chooser.choose(state.next_logits(), state.positions, [texts[p] for p in state.positions])
        for position, token in zip(state.positions, tokens, strict=True):
            if position in answers:
                answers[position].append(token)
                if is_over(position, answers[position]):
                    yield position, answers.pop(position)
        if not answers:
            return
        state.go_on(tokens, answers)
    yield from answers.items()


class _State:
    """What one batch carries from token to token.

    Attributes:
        positions: for each row still in the batch, the position of its prompt.
    """

    def __init__(self, model: nn.Module, batch: dict[str, Tensor], positions: Sequence[int], cache: Any) -> None:
        device = next(model.parameters()).device
        self._model: Any = model
        # Logits of the last position are all that decoding reads; the rest would be the largest tensor of all.
        keeps_logits = "logits_to_keep" in inspect.signature(self._model.forward).parameters
        self._options = {"use_cache": True, **({"logits_to_keep": 1} if keeps_logits else {})}
        self._input_ids_BL = to_device(batch["input_ids"], device)
        self._mask_BL = to_device(batch["attention_mask"], device)
        self._positions_BL = to_device(batch["position_ids"], device)
        self._cache: Any = cache
        self.positions = list(positions)

    def next_logits(self) -> Tensor:
        """Logits of the next token of every row, (B, V)."""
        output = self._model(
            input_ids=self._input_ids_BL,
            attention_mask=self._mask_BL,
            position_ids=self._positions_BL,
            past_key_values=self._cache,
            **self._options,
        )
        self._cache = output.past_key_values
        logits_BV: Tensor = output.logits[:, -1]
        return logits_BV

    def go_on(self, tokens: Sequence[int], unfinished: Container[int]) -> None:
        """Append the chosen tokens; drop finished rows once they are half of the batch, for dropping has its cost."""
        device = self._mask_BL.device
        self._input_ids_BL = torch.tensor(tokens, device=device)[:, None]
        self._mask_BL = torch.cat([self._mask_BL, torch.ones_like(self._mask_BL[:, :1])], dim=1)
        self._positions_BL = self._positions_BL[:, -1:] + 1
        kept = [row for row, position in enumerate(self.positions) if position in unfinished]
        if 2 * len(kept) > len(self.positions):
            return
        index_B = torch.tensor(kept, device=device)
        self._cache.batch_select_indices(index_B)
        self._input_ids_BL, self._mask_BL = self._input_ids_BL[index_B], self._mask_BL[index_B]
        self._positions_BL = self._positions_BL[index_B]
        self.positions = [self.positions[row] for row in kept]
