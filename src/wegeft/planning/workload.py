"""How much a run reads and writes: examples, and tokens of each.

Known from records of the same task, scale and tokenizer; else from ``lengths.yaml``; else from records of another
tokenizer; else bounded by the longest input that the protocol allows. Does not: read data.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import yaml

from wegeft.config import RunConfig
from wegeft.planning.measured import Observation, data_name
from wegeft.tasks import build_task

PADDING = 1.3
"""Length of a padded row over the mean length, where only the mean is known."""
LONGEST = 2.0
"""Length of the longest row over the mean length, where only the mean is known."""
Basis = Literal["measured", "stated", "at most"]


@dataclass(frozen=True)
class Workload:
    """What one run works through; lengths are means over examples, in tokens.

    Attributes:
        train_examples: rows of the training set; None where nobody knows before the data is there.
        prompt, answer: of a training row.
        padded: length of the rows of a padded batch.
        longest: length of the longest row.
        questions: test rows; None where nobody knows.
        answers: to all of them, several to each where the task asks it in several ways or draws samples; None likewise.
        test_prompt, generated: of a test row, and of the answer to it.
        basis: where the lengths come from.
    """

    train_examples: int | None
    prompt: float
    answer: float
    padded: float
    longest: float
    questions: int | None
    answers: int | None
    test_prompt: float
    generated: float
    basis: Basis


def workload(config: RunConfig, seen: Sequence[Observation]) -> Workload:
    """The work of the run that ``config`` describes; ``seen`` are the observations to learn lengths from."""
    task = build_task(config.task)
    limit = config.evaluation.limit
    sets = task.expected_test_examples()
    questions = None if sets is None else sum(min(count, limit or count) for count in sets.values())
    bound = float(getattr(config.protocol, "max_length", None) or 1)
    most_new = float(config.task.get("max_new_tokens", 0))
    found, basis = _lengths(config, seen) or ({"prompt": bound, "answer": 0.0, "test_prompt": bound}, "at most")
    whole = min(found["prompt"] + found["answer"], bound)
    generated = found.get("generated", found["answer"] if basis == "stated" else most_new)
    return Workload(
        train_examples=task.expected_train_examples(),
        prompt=whole - min(found["answer"], whole),
        answer=found["answer"],
        padded=min(found.get("longest_of_16", whole * PADDING), bound),
        longest=min(found.get("longest", whole * LONGEST), bound),
        questions=questions,
        answers=None if questions is None else questions * task.answers_per_question(),
        test_prompt=min(found["test_prompt"], bound),
        generated=min(generated, most_new),
        basis=basis,
    )


def _lengths(config: RunConfig, seen: Sequence[Observation]) -> tuple[dict[str, float], Basis] | None:
    """Mean lengths, of the records of the same tokenizer before those that are stated before other records'."""
    scale = config.scale.name
    data = data_name(config.task, {"family": config.model.family})
    same = [one for one in seen if (one.data, one.scale) == (data, scale) and one.examples]
    own = [one for one in same if one.source == config.model.source]
    if own:
        return _means(own), "measured"
    stated = _stated().get(config.task["name"], {}).get(scale)
    if stated:
        return dict(stated), "stated"
    return (_means(same), "measured") if same else None


def _means(seen: Sequence[Observation]) -> dict[str, float]:
    answer = fmean(one.labels / one.examples for one in seen)
    prompt = fmean(one.tokens / one.examples for one in seen) - answer
    answered = [one.generated / one.answers for one in seen if one.generated is not None and one.answers]
    lengths = {"prompt": prompt, "answer": answer, "test_prompt": prompt}
    return lengths | ({"generated": fmean(answered)} if answered else {})


@cache
def _stated() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("lengths.yaml").read_text(encoding="utf-8"))
    return content
