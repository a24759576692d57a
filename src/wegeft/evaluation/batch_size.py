"""How many questions are answered together: a number, or as many as memory is estimated to hold.

``auto`` on a GPU is the power of two below what the free memory holds by :func:`bytes_of_a_row`, so that a little more
or less of it makes no difference. On a CPU it is at most ``CPU_MOST`` and what a part of the free memory holds. Either,
and a number as well, is halved where a GPU runs out of memory after all; what is answered stays.

Does not: measure memory while the model runs, or make a size larger again.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

import psutil
import torch
from torch import nn

from wegeft.evaluation.config import AUTO, CPU_MOST, EvaluationConfig
from wegeft.training.distributed import current, is_sharded
from wegeft.within_memory import WithinMemory

T = TypeVar("T")

GPU_MOST = 512
"""Beyond it, a decoding step of a large model is bound by arithmetic, and rows wait longer for the batch's last one."""
GPU_PART, CPU_PART = 0.8, 0.25
"""Of the free memory; a CPU's is shared with others, and running out of it ends the process."""


class BatchSize(WithinMemory):
    """``evaluation.batch_size`` of one evaluation."""

    key: ClassVar[str] = "evaluation.batch_size"
    unit: ClassVar[str] = "questions"
    too_large: ClassVar[str] = (
        "The device's memory does not hold the answer to one question: take a smaller backbone or a larger device."
    )

    def __init__(self, config: EvaluationConfig, model: nn.Module) -> None:
        """``model`` is what answers; a sharded one does so with all processes at once, whose sizes must agree."""
        super().__init__(None if config.batch_size == AUTO else config.batch_size, is_fixed=is_sharded(model))
        self._config = config
        self._model = model

    @property
    def used(self) -> int:
        """Questions answered together; the fewest, where memory did not suffice or prompts were of several kinds."""
        return self.size or self._usual

    def of_questions(self) -> int:
        """The size for questions of which each takes one pass and leaves no cache."""
        self.size = self.used
        return self.size

    def of_prompts(self, prompt_tokens: int, new_tokens: int) -> int:
        """The size for prompts of at most ``prompt_tokens`` and so many new ones, the same on every process."""
        if self._config.batch_size == AUTO:
            fitting = self._fitting(prompt_tokens, new_tokens)
            self.size = min(current().collect(fitting if self.size is None else min(fitting, self.size)))
        return self.used

    def in_parts(self, positions: Sequence[int], answer: Callable[[Sequence[int]], Sequence[T]]) -> list[T]:
        """``answer(positions)``, part by part if they are more than fit into memory."""
        found: list[T] = []

        def attempt(size: int | None) -> Sequence[T]:
            return answer(positions[len(found) :][:size])

        while len(found) < len(positions):
            found += self.within_memory(len(positions) - len(found), attempt, undo=lambda: None)
        return found

    @property
    def _usual(self) -> int:
        return self._config.usual_batch_size(_device(self._model).type == "cuda")

    def _fitting(self, prompt_tokens: int, new_tokens: int) -> int:
        row, device = bytes_of_a_row(self._model, prompt_tokens, new_tokens), _device(self._model)
        if row is None:
            return self._usual
        if device.type == "cuda":
            # What torch holds back without using it is free as well.
            unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
            return rows_on_gpu(torch.cuda.mem_get_info(device)[0] + unused, row)
        return rows_on_cpu(psutil.virtual_memory().available, row)


def rows_on_gpu(free: int, row: int) -> int:
    """The power of two below the rows of so many bytes that a part of the ``free`` bytes holds."""
    rows = int(GPU_PART * free / row)
    return min(GPU_MOST, 1 << max(0, rows.bit_length() - 1))


def rows_on_cpu(free: int, row: int) -> int:
    """The rows of so many bytes that a part of the ``free`` bytes holds, at most ``CPU_MOST``."""
    return max(1, min(CPU_MOST, int(CPU_PART * free / row)))


def bytes_of_a_row(model: nn.Module, prompt_tokens: int, new_tokens: int) -> int | None:
    """An upper estimate of what one more prompt of a batch takes; None for a model without a transformers config.

    Keys and values of prompt and answer, twice because appending copies them layer by layer; of the pass over the
    prompt the widest activations of one layer, with attention scores as they are where no fused kernel takes a mask;
    and a token's logits in double precision with what sampling makes of them.
    """
    config: Any = getattr(model, "config", None)
    if config is None:
        return None
    text = config.get_text_config(decoder=True)
    heads, width = text.num_attention_heads, text.hidden_size
    head_width = getattr(text, "head_dim", None) or width // heads
    key_heads = getattr(text, "num_key_value_heads", None) or heads
    inner = getattr(text, "intermediate_size", None) or 4 * width
    size = next(model.parameters()).element_size()
    cache = 2 * 2 * text.num_hidden_layers * key_heads * head_width * size * (prompt_tokens + new_tokens)
    layer = prompt_tokens * size * (8 * width + 3 * inner + heads * prompt_tokens)
    return int(cache + layer + 4 * 8 * text.vocab_size)


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
