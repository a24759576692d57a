"""Greedy decoding in batches: the same text for a prompt, whatever it is batched with.

Prompts are decoded longest first, left-padded, with an attention mask and position ids that ignore the padding, over
the model's key-value cache. A finished answer leaves the batch once half of the batch is done.

Does not: sample, search with beams, or decode text. An answer is never cut short because the scorer could already tell:
the last occurrence of a phrase is known only at the end, and samples must stay whole to be scored again.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from wegeft.tasks.encoding import TextEncoder

OnAnswer = Callable[[int, list[int]], None]
"""Told the position of a prompt and the ids generated for it, EOS included, as soon as they are known."""


@torch.inference_mode()
def generate_greedy(
    model: nn.Module,
    encoder: TextEncoder,
    prompts_ids: Sequence[list[int]],
    max_new_tokens: int,
    batch_size: int,
    on_answer: OnAnswer,
) -> None:
    """Answer every prompt with at most ``max_new_tokens`` tokens, the most probable one each time.

    Args:
        model: a transformers causal language model in evaluation mode.
        encoder: pads the prompts and knows EOS, which ends an answer.
        prompts_ids: not padded.
        max_new_tokens: EOS counts as one.
        batch_size: prompts decoded together.
        on_answer: called once per prompt, in the order in which batches finish.
    """
    order = sorted(range(len(prompts_ids)), key=lambda position: (-len(prompts_ids[position]), position))
    for first in range(0, len(order), batch_size):
        positions = order[first : first + batch_size]
        batch = encoder.collate_prompts([prompts_ids[position] for position in positions])
        for row, ids in _answers(model, batch, encoder.eos_id, max_new_tokens):
            on_answer(positions[row], ids)


def _answers(
    model: nn.Module, batch: dict[str, Tensor], eos_id: int, max_new_tokens: int
) -> Iterator[tuple[int, list[int]]]:
    """Row of the batch and its generated ids, row by row as the rows finish."""
    state = _State(model, batch)
    answers: dict[int, list[int]] = {row: [] for row in range(len(batch["input_ids"]))}
    for _ in range(max_new_tokens):
        tokens = state.step()
        for row, token in zip(state.rows, tokens, strict=True):
            if row in answers:
                answers[row].append(token)
                if token == eos_id:
                    yield row, answers.pop(row)
        if not answers:
            return
        state.keep(answers)
    yield from answers.items()


class _State:
    """What one batch carries from token to token.

    Attributes:
        rows: for each row still in the batch, its number in the batch as it was given.
    """

    def __init__(self, model: nn.Module, batch: dict[str, Tensor]) -> None:
        device = next(model.parameters()).device
        self._model: Any = model
        # Logits of the last position are all that greedy decoding reads; the rest would be the largest tensor of all.
        keeps_logits = "logits_to_keep" in inspect.signature(self._model.forward).parameters
        self._options = {"use_cache": True, **({"logits_to_keep": 1} if keeps_logits else {})}
        self._input_ids_BL = batch["input_ids"].to(device)
        self._mask_BL = batch["attention_mask"].to(device)
        self._positions_BL = batch["position_ids"].to(device)
        self._cache: Any = None
        self.rows = list(range(len(self._input_ids_BL)))

    def step(self) -> list[int]:
        """The next token of every row in :attr:`rows`."""
        output = self._model(
            input_ids=self._input_ids_BL,
            attention_mask=self._mask_BL,
            position_ids=self._positions_BL,
            past_key_values=self._cache,
            **self._options,
        )
        self._cache = output.past_key_values
        tokens_B = output.logits[:, -1].argmax(dim=-1)
        self._input_ids_BL = tokens_B[:, None]
        self._mask_BL = torch.cat([self._mask_BL, torch.ones_like(self._mask_BL[:, :1])], dim=1)
        self._positions_BL = self._positions_BL[:, -1:] + 1
        tokens: list[int] = tokens_B.tolist()
        return tokens

    def keep(self, unfinished: dict[int, list[int]]) -> None:
        """Drop finished rows once they are half of the batch; before, dropping costs more than carrying them."""
        if 2 * len(unfinished) > len(self.rows):
            return
        kept = [index for index, row in enumerate(self.rows) if row in unfinished]
        index_B = torch.tensor(kept, device=self._mask_BL.device)
        self._cache.batch_select_indices(index_B)
        self._input_ids_BL, self._mask_BL = self._input_ids_BL[index_B], self._mask_BL[index_B]
        self._positions_BL = self._positions_BL[index_B]
        self.rows = [self.rows[index] for index in kept]
