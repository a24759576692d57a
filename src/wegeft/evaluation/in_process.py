"""The model of this process as an engine: sorted by length, from a shared prefix, in batches that fit into memory.

Does not: decode (``wegeft.evaluation.generate`` does).
"""

from collections.abc import Sequence
from functools import cached_property

from torch import nn

from wegeft.evaluation.batch_size import BatchSize
from wegeft.evaluation.config import EvaluationConfig
from wegeft.evaluation.decoding import Chooser
from wegeft.evaluation.engine import Questions
from wegeft.evaluation.generate import batches, generate
from wegeft.evaluation.shared_prefix import Group, Prefix, grouped, prefix_of
from wegeft.tasks.encoding import TextEncoder


class InProcess:
    """See :class:`wegeft.evaluation.engine.Engine`."""

    def __init__(self, model: nn.Module, encoder: TextEncoder, config: EvaluationConfig) -> None:
        self._model = model
        self._encoder = encoder
        self._size = BatchSize(config, model)

    @property
    def batch_size(self) -> int:
        """See :class:`wegeft.evaluation.engine.Engine`."""
        return self._size.used

    def ask(self, questions: Questions) -> "InProcessSession":
        """See :class:`wegeft.evaluation.engine.Engine`."""
        return InProcessSession(self._model, self._encoder, self._size, questions)


class InProcessSession:
    """See :class:`wegeft.evaluation.engine.Session`; the batches with the longest prompts come first."""

    def __init__(self, model: nn.Module, encoder: TextEncoder, size: BatchSize, questions: Questions) -> None:
        self._model = model
        self._encoder = encoder
        self._size = size
        self._asked = questions
        ids = questions.prompts_ids
        rows = size.of_prompts(max(map(len, ids), default=0), questions.max_new_tokens)
        groups = [_Group(model, encoder, group, ids) for group in grouped(ids, questions.sets, rows)]
        self._group_of = {position: group for group in groups for position in group.positions}
        found = [
            [group.positions[index] for index in batch]
            for group in groups
            for batch in batches([ids[position] for position in group.positions], rows)
        ]
        self.batches: Sequence[Sequence[int]] = sorted(found, key=lambda batch: -len(ids[batch[0]]))

    def answer(self, batch: Sequence[int]) -> list[list[int]]:
        """See :class:`wegeft.evaluation.engine.Session`; what was answered when memory ran out is not asked again."""
        found: dict[int, list[int]] = {}

        def attempt(size: int | None) -> None:
            part = [position for position in batch if position not in found][:size]
            ids = [self._asked.prompts_ids[position] for position in part]
            streams, listed = [self._asked.streams[position] for position in part], self._asked.listed
            allowed = None if listed is None else [listed[position] for position in part]
            chooser = Chooser(self._asked.decoding, ids, streams, allowed)

            def keep(row: int, new_ids: list[int]) -> None:
                found[part[row]] = new_ids

            def is_decided(row: int, ids_so_far: list[int]) -> bool:
                return self._asked.is_decided(part[row], ids_so_far)

            prefix = self._group_of[batch[0]].prefix
            limit = self._asked.max_new_tokens
            generate(self._model, self._encoder, ids, limit, len(ids), chooser, keep, prefix, is_decided)

        while len(found) < len(batch):
            self._size.within_memory(len(batch) - len(found), attempt, undo=lambda: None)
        return [found[position] for position in batch]


class _Group:
    """Prompts that are batched among themselves, and what they begin with, run when the first of them is asked."""

    def __init__(self, model: nn.Module, encoder: TextEncoder, group: Group, prompts_ids: Sequence[list[int]]) -> None:
        self.positions = group.positions
        self._model = model
        self._encoder = encoder
        self._ids = prompts_ids[group.positions[0]][: group.shared]

    @cached_property
    def prefix(self) -> Prefix | None:
        """None where the prompts are read whole."""
        return prefix_of(self._model, self._encoder, self._ids)
