"""Going through the questions of an evaluation batch by batch, shared by all processes, from where it stopped.

Does not: know what a question or an answer is.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain

from torch import nn

from wegeft.evaluation.journal import Answer, Journal
from wegeft.progress import Advance
from wegeft.training.distributed import World, current, is_sharded
from wegeft.training.interruption import Interrupted, stop_requests


def answer_all(
    keys: Sequence[str],
    batches: Sequence[Sequence[int]],
    answer: Callable[[Sequence[int]], Iterable[Answer]],
    journal: Journal,
    model: nn.Module,
    advance: Advance,
) -> list[Answer]:
    """The answers to all questions, in their order and on every process.

    Several processes share the batches, which are the same as those of one process. Answers that ``journal`` knows are
    not asked for again, and a batch of which one is missing is asked again whole, so that its answers are what they
    would have been.

    Args:
        keys: a name for every question.
        batches: positions of the questions that are answered together.
        answer: answers to one batch, in its order.
        journal: keeps them as they come.
        model: what answers; a sharded one does so with all processes at once.
        advance: told how many are done.

    Raises:
        Interrupted: the system asked to stop; the answers so far are in ``journal``.
    """
    todo = [batch for batch in batches if any(keys[position] not in journal.known for position in batch)]
    advance(len(keys) - sum(len(batch) for batch in todo))
    everyone = current()
    workers = World() if is_sharded(model) else everyone
    with stop_requests() as stop:
        for first in range(0, len(todo), workers.size):
            group = todo[first : first + workers.size]
            own = [[given.text, given.tokens] for batch in workers.part(group) for given in answer(batch)]
            found = workers.collect(own)
            order = chain(*(chain(*group[rank :: workers.size]) for rank in range(workers.size)))
            for position, (text, tokens) in zip(order, chain(*found), strict=True):
                journal.add(keys[position], Answer(text, tokens))
            advance(sum(len(batch) for batch in group))
            if everyone.total([float(stop.is_set())])[0]:
                raise Interrupted(f"stopped after {len(journal.known)} answers")
    return [journal.known[key] for key in keys]
