"""From a trained model and a text task to scores and samples, with lm-eval as the engine.

Does not: merge or load adapters, or decide what a right answer is (the task does).
"""

import hashlib
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

from torch import nn

from wegeft.evaluation.checks import check_test_sets
from wegeft.evaluation.config import EvaluationConfig
from wegeft.evaluation.extractors import Extractor
from wegeft.evaluation.result import Evaluation, Score
from wegeft.evaluation.samples import PartialSamples, Sample, write_samples
from wegeft.tasks.base import Example
from wegeft.tasks.encoding import TextEncoder
from wegeft.tasks.text import TextTask

PREFIX = "wegeft_"
"""What our tasks' names begin with in lm-eval."""


def evaluate_text(
    model: nn.Module, encoder: TextEncoder, task: TextTask, config: EvaluationConfig, folder: Path
) -> Evaluation:
    """Answer and score every test set of ``task``; the answers go to ``folder``/samples.jsonl.

    Args:
        model: adapted (or merged) language model on its device; it is put into evaluation mode.
        encoder: of the backbone and the protocol that ``model`` was trained with.
        task: what is asked.
        config: sizes.
        folder: the run's own folder.

    Raises:
        UserError: test data missing or broken, or a prompt that the protocol or the backbone has no room for.
    """
    from lm_eval.evaluator import evaluate

    from wegeft.evaluation.lm import GreedyLM
    from wegeft.evaluation.lm_task import lm_task

    started = time.perf_counter()
    sets = {subset: examples[: config.limit] for subset, examples in task.test_examples().items()}
    check_test_sets(model, encoder, task, sets)
    model.eval()
    with _quiet(), PartialSamples(folder) as partial:
        tasks = {
            PREFIX + subset: lm_task(
                PREFIX + subset, examples, task.extractors(subset), task.comparison(subset), task.max_new_tokens
            )
            for subset, examples in sets.items()
        }
        lm = GreedyLM(model, encoder, config.batch_size, partial.add)
        found = evaluate(lm=lm, task_dict={"tasks": tasks}, log_samples=True)
    assert found is not None, "lm-eval returns nothing only on other ranks"
    samples = [
        sample
        for subset in sets
        for sample in _samples(found["samples"][PREFIX + subset], task.extractors(subset), lm.prompt_lengths)
    ]
    scores = _scores(found["results"], task, sets)
    return Evaluation(
        scores=scores,
        mean=fmean(scores[subset].value for subset in counted(task, sets)),
        n=len(samples),
        samples_path=write_samples(samples, folder),
        seconds=time.perf_counter() - started,
        tokens_generated=lm.tokens_generated,
        batch_size=config.batch_size,
        extractor=_extractor_label(task, sets),
        too_long=_count_too_long(sets, lm.too_long),
    )


def counted(task: TextTask, subsets: Iterator[str] | Mapping[str, Any]) -> list[str]:
    """The subsets that enter the mean: all but the leaked ones (all, if there is no other)."""
    names = list(subsets)
    return [name for name in names if name not in task.config.leaked_subsets] or names


def _samples(
    logged: Sequence[Mapping[str, Any]], extractors: Mapping[str, Extractor], prompt_lengths: Mapping[str, int]
) -> Iterator[Sample]:
    """Samples of one test set in its order, the rules after the first folded into ``others``."""
    first_name, first = next(iter(extractors.items()))
    by_rule = {name: [entry for entry in logged if entry["filter"] == name] for name in extractors}
    for index, entry in enumerate(by_rule[first_name]):
        prompt = entry["arguments"][0][0]
        others = {name: _judged(by_rule[name][index]) for name in extractors if name != first_name}
        yield Sample(
            uid=entry["doc"]["uid"],
            subset=entry["doc"]["subset"],
            prompt_sha256=hashlib.sha256(prompt.encode()).hexdigest(),
            prompt_ids_n=prompt_lengths[prompt],
            text=entry["resps"][0][0],
            gold=entry["doc"]["gold"],
            extractor=first.label,
            extractor_version=first.version,
            others=others,
            **_judged(entry),
        )


def _judged(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {"extracted": entry["filtered_resps"][0], "score": entry["accuracy"]}


def _scores(
    results: Mapping[str, Mapping[str, Any]], task: TextTask, sets: Mapping[str, Sequence[Example]]
) -> dict[str, Score]:
    """Scores by name; the first rule's under the subset's name, another rule's under ``subset/rule``."""
    chance = task.chance() or {}
    scores = {}
    for subset, examples in sets.items():
        for position, rule in enumerate(task.extractors(subset)):
            name = subset if position == 0 else f"{subset}/{rule}"
            value = results[PREFIX + subset][f"accuracy,{rule}"]
            stderr = results[PREFIX + subset][f"accuracy_stderr,{rule}"]
            scores[name] = Score(
                subset=name,
                metric="accuracy",
                value=value,
                stderr=stderr if isinstance(stderr, float) else None,
                n=len(examples),
                chance=chance.get(subset),
            )
    return scores


def _extractor_label(task: TextTask, sets: Mapping[str, Sequence[Example]]) -> dict[str, Any]:
    """Names and highest version of the first rules, which are behind the reported scores."""
    first = {e.label: e.version for subset in sets for e in list(task.extractors(subset).values())[:1]}
    return {"name": "+".join(first), "version": "+".join(str(version) for version in first.values())}


def _count_too_long(sets: Mapping[str, Sequence[Example]], too_long: set[str]) -> dict[str, int]:
    counts = {subset: sum(example.prompt in too_long for example in examples) for subset, examples in sets.items()}
    return {subset: count for subset, count in counts.items() if count}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep lm-eval's remarks about its own command line away from a run's output; errors still come through."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
