"""What can be known to go wrong with test questions before a model has seen one, so that no training is spent on it.

Does not: generate or score.
"""

import math
from collections.abc import Mapping, Sequence

from torch import nn

from wegeft.errors import UserError
from wegeft.evaluation.compare import Comparison, is_correct
from wegeft.evaluation.extractors import Extractor
from wegeft.progress import progress
from wegeft.tasks.base import Example
from wegeft.tasks.encoding import TextEncoder
from wegeft.tasks.text import TextTask

Questions = Mapping[str, Sequence[Example]]
"""Questions by subset."""


def check_test_sets(model: nn.Module, encoder: TextEncoder, task: TextTask, sets: Questions) -> None:
    """Refuse questions that could never be answered rightly.

    Raises:
        UserError: naming the row: an answer that its own rule cannot read, or a prompt without room.
    """
    check_gold(task, sets)
    check_room(model, encoder, task, sets)
    check_listed(encoder, task, sets)


def check_gold(task: TextTask, sets: Questions) -> None:
    """Refuse a question whose answer an extraction rule cannot find even where it stands in the plainest text.

    Raises:
        UserError: naming the row; such a question could never be answered, whatever the model.
    """
    with progress(sum(len(examples) for examples in sets.values()), "check questions") as advance:
        for subset, examples in sets.items():
            rules = list(task.rules(subset).values())
            for example in examples:
                for rule, comparison in rules:
                    _check_answer(rule, comparison, example)
                advance()


def _check_answer(rule: Extractor, comparison: Comparison, example: Example) -> None:
    extracted = rule.extract(rule.announce(example.gold))
    if not is_correct(comparison, extracted, example.gold):
        raise UserError(
            f"row {example.uid}: its answer {example.gold!r} can never be scored right, because {rule.label} reads "
            f"{extracted!r} in {rule.announce(example.gold)!r}."
        )


def check_listed(encoder: TextEncoder, task: TextTask, sets: Questions) -> None:
    """Refuse a listed answer that takes more tokens than an answer may have, and so could never be given whole."""
    # Each text once, after the first prompt that lists it: thousands of questions list the same few labels.
    first: dict[str, Example] = {}
    for example in (example for examples in sets.values() for example in examples):
        for answer in example.listed:
            first.setdefault(answer, example)
    encoded = encoder.encode_answers([example.prompt for example in first.values()], [[answer] for answer in first])
    for (answer, example), (ids,) in zip(first.items(), encoded, strict=True):
        if len(ids) > task.max_new_tokens:
            raise UserError(
                f"row {example.uid}: the answer {answer!r}, which it lists, takes {len(ids)} tokens, and "
                f"task.max_new_tokens={task.max_new_tokens}; raise it, or set task.listed_answers=false."
            )


def check_room(model: nn.Module, encoder: TextEncoder, task: TextTask, sets: Questions) -> None:
    """Refuse prompts that the protocol refuses, or that leave the backbone too few positions for an answer."""
    positions = getattr(getattr(model, "config", None), "max_position_embeddings", math.inf)
    longest = positions - task.max_new_tokens
    if encoder.protocol.max_length < longest and encoder.protocol.truncation != "error":
        return
    for examples in sets.values():
        prompts = encoder.encode_prompts([e.prompt for e in examples], [e.uid for e in examples])
        left_out = prompts.too_long if encoder.protocol.truncation == "skip" else frozenset()
        for index, (example, ids) in enumerate(zip(examples, prompts.input_ids, strict=True)):
            if len(ids) > longest and index not in left_out:
                cut = f"protocol.max_length={longest - 1} and protocol.truncation=skip or right"
                raise UserError(
                    f"row {example.uid}: its prompt takes {len(ids)} tokens, and with {task.max_new_tokens} new ones "
                    f"the backbone's {positions} positions are not enough; set "
                    f"{cut if longest > 1 else f'task.max_new_tokens below {positions}'}."
                )
