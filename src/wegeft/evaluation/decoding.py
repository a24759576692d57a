"""How the next token of an answer is chosen: greedily, or drawn with a random stream of the answer's own.

All tokens can be chosen, or those alone with which the answer stays the beginning of one of a given few.

A draw depends on the seed, the question and the number of the answer to it, never on what else is in the batch, so that
a sampled score can be repeated with any batch size (on logits equal up to rounding).

Does not: run a model, or search with beams.
"""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from wegeft.schema import Strict

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class DecodingConfig(Strict):
    """One way of decoding; without any key it is greedy.

    Attributes:
        temperature: of the softmax that is drawn from; 0 takes the most probable token.
        top_p: draw from the smallest set of tokens that holds this probability (nucleus sampling).
        samples: answers to every question; the score of a question is the share of right ones.
        pass_at: further scores pass@k, the chance that one of k answers is right; each k at most ``samples``.
        seed: of all draws.
        repetition_penalty: divides positive logits, and multiplies negative ones, of every token that stands in the
            prompt or the answer so far (Keskar et al., arXiv 1909.05858, section 4.1, as transformers applies it).
        no_repeat_ngram: no run of so many tokens of prompt and answer occurs twice; 0 allows it.
        listed: nothing can be written but one of the answers that the question lists.
    """

    temperature: float = Field(default=0.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    samples: int = Field(default=1, ge=1)
    pass_at: tuple[int, ...] = ()
    seed: int = Field(default=0, ge=0)
    repetition_penalty: float = Field(default=1.0, ge=1)
    no_repeat_ngram: int = Field(default=0, ge=0)
    listed: bool = False

    @property
    def is_greedy(self) -> bool:
        """Whether the most probable token is taken, whatever it is and whatever came before."""
        as_is = self.repetition_penalty == 1 and self.no_repeat_ngram == 0 and not self.listed
        return self.temperature == 0 and as_is

    @model_validator(mode="after")
    def _enough_samples(self) -> "DecodingConfig":
        if any(not 1 <= k <= self.samples for k in self.pass_at):
            raise ValueError(f"pass_at={list(self.pass_at)} needs as many samples, and there are {self.samples}")
        if self.samples > 1 and self.temperature == 0:
            raise ValueError("several samples of a greedy answer are all the same; set temperature")
        return self


class Chooser:
    """Chooses tokens for the answers to ``prompts_ids``, each with a stream of its own."""

    def __init__(
        self,
        config: DecodingConfig,
        prompts_ids: Sequence[list[int]],
        streams: Sequence[str],
        listed: Sequence[Sequence[list[int]]] | None = None,
    ) -> None:
        """Take the prompts, and for each the name of its random stream (question and number of the answer).

        ``listed`` holds for each prompt the ids of the answers that can be written, EOS included; None allows all.
        """
        self._config = config
        self._prompts_ids = prompts_ids
        self._streams = streams
        self._listed = listed
        self._generators: dict[int, torch.Generator] = {}

    def choose(self, logits_BV: "Tensor", prompts: Sequence[int], answers: Sequence[list[int]]) -> list[int]:
        """The next token of each answer.

        Args:
            logits_BV: of the next token, in any floating dtype.
            prompts: for each row the position of its prompt.
            answers: for each row the tokens so far.
        """
        if self._config.repetition_penalty != 1 or self._config.no_repeat_ngram:
            histories = [self._prompts_ids[p] + answer for p, answer in zip(prompts, answers, strict=True)]
            logits_BV = self._without_repetition(logits_BV.float(), histories)
        if self._listed is not None:
            logits_BV = _of_these(
                logits_BV, [continuations(self._listed[p], a) for p, a in zip(prompts, answers, strict=True)]
            )
        if self._config.temperature == 0:
            greedy: list[int] = logits_BV.argmax(dim=-1).tolist()
            return greedy
        return self._draw(logits_BV, prompts)

    def _draw(self, logits_BV: "Tensor", prompts: Sequence[int]) -> list[int]:
        """Inverse of the cumulative distribution at one uniform number a row, tokens in order of probability."""
        import torch

        probabilities_BV = (logits_BV.double() / self._config.temperature).softmax(dim=-1)
        sorted_BV, tokens_BV = probabilities_BV.sort(dim=-1, descending=True, stable=True)
        before_BV = sorted_BV.cumsum(dim=-1) - sorted_BV
        cumulative_BV = sorted_BV.where(before_BV < self._config.top_p, 0.0).cumsum(dim=-1)
        uniform_B = torch.cat([self._uniform(prompt) for prompt in prompts]).to(cumulative_BV.device)
        threshold_B1 = (uniform_B * cumulative_BV[:, -1])[:, None]
        chosen_B1 = torch.searchsorted(cumulative_BV, threshold_B1, right=True).clamp(max=tokens_BV.shape[1] - 1)
        drawn: list[int] = tokens_BV.gather(1, chosen_B1)[:, 0].tolist()
        return drawn

    def _uniform(self, prompt: int) -> "Tensor":
        import torch

        if prompt not in self._generators:
            digest = hashlib.sha256(f"{self._config.seed}/{self._streams[prompt]}".encode()).digest()
            seed = int.from_bytes(digest[:8], "big") >> 1  # torch takes 63 bits
            self._generators[prompt] = torch.Generator().manual_seed(seed)
        return torch.rand(1, generator=self._generators[prompt], dtype=torch.float64)

    def _without_repetition(self, logits_BV: "Tensor", histories: Sequence[list[int]]) -> "Tensor":
        import torch

        penalised_BV = logits_BV.clone()
        for row, history in enumerate(histories):
            seen_N = torch.tensor(sorted(set(history)), device=logits_BV.device)
            values_N = logits_BV[row, seen_N]
            penalty = self._config.repetition_penalty
            penalised_BV[row, seen_N] = torch.where(values_N < 0, values_N * penalty, values_N / penalty)
            banned = repeated_ngram_ends(history, self._config.no_repeat_ngram)
            penalised_BV[row, banned] = -torch.inf
        return penalised_BV


def continuations(listed: Sequence[list[int]], answer: list[int]) -> list[int]:
    """The tokens with which ``answer`` stays the beginning of one of the ``listed`` answers; none if it is one."""
    length = len(answer)
    return sorted({ids[length] for ids in listed if len(ids) > length and ids[:length] == answer})


def _of_these(logits_BV: "Tensor", tokens: Sequence[list[int]]) -> "Tensor":
    """The logits with all but the ``tokens`` of their row at -∞; a row without tokens, whose answer is over, stays."""
    import torch

    kept_BV = torch.full_like(logits_BV, -torch.inf)
    for row, allowed in enumerate(tokens):
        which = allowed or slice(None)
        kept_BV[row, which] = logits_BV[row, which]
    return kept_BV


def repeated_ngram_ends(history: Sequence[int], size: int) -> list[int]:
    """Tokens that would make the last ``size`` tokens of ``history`` occur in it a second time."""
    if size == 0 or len(history) < size:
        return []
    start = tuple(history[len(history) - size + 1 :])
    grams = (tuple(history[first : first + size]) for first in range(len(history) - size + 1))
    return sorted({gram[-1] for gram in grams if gram[:-1] == start})
