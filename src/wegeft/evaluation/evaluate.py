"""From a trained model and a text task to scores and samples, with lm-eval as the engine.

Does not: merge or load adapters, or decide what a right answer is (the task does).
"""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from torch import nn

from wegeft.evaluation.checks import check_test_sets
from wegeft.evaluation.choose_engine import open_engine
from wegeft.evaluation.config import EvaluationConfig
from wegeft.evaluation.extractors import Extractor, decided_for_all
from wegeft.evaluation.journal import Journal, fingerprint, keep
from wegeft.evaluation.result import Evaluation, Score
from wegeft.evaluation.samples import Sample
from wegeft.tasks.base import Example
from wegeft.tasks.encoding import TextEncoder
from wegeft.tasks.text import TextTask

if TYPE_CHECKING:
    from wegeft.evaluation.lm_task import Reading

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

    from wegeft.evaluation.lm import TextLM
    from wegeft.evaluation.lm_task import lm_task

    sets = {subset: examples[: config.limit] for subset, examples in task.test_examples().items()}
    check_test_sets(model, encoder, task, sets)
    model.eval()
    names = {(way, subset): _score_name(task, subset, way) for way in task.ways for subset in sets}
    questions = [(example.uid, example.prompt) for examples in sets.values() for example in examples]
    with (
        _quiet(),
        Journal(folder, fingerprint(model, questions)) as journal,
        open_engine(model, encoder, config, folder, task.max_new_tokens) as engine,
    ):
        tasks = {
            PREFIX + name: lm_task(PREFIX + name, sets[subset], task.rules(subset), task.max_new_tokens, task.ways[way])
            for (way, subset), name in names.items()
        }
        decided = {
            PREFIX + name: decided_for_all(task.extractors(subset).values()) for (_, subset), name in names.items()
        }
        lm = TextLM(model, encoder, engine, journal, decided)
        found = evaluate(lm=lm, task_dict={"tasks": tasks}, log_samples=True)
    assert found is not None, "lm-eval returns nothing only on other ranks"
    samples = [
        sample
        for (_, subset), name in names.items()
        for sample in _samples(found["samples"][PREFIX + name], name, task.extractors(subset), lm.prompt_lengths)
    ]
    scores = {
        score.subset: score
        for (way, subset), name in names.items()
        for score in _scores(found["results"][PREFIX + name], name, task, subset, way, len(sets[subset]))
    }
    mean, *others = (
        fmean(scores[_score_name(task, subset, way)].value for subset in task.counted(sets)) for way in task.ways
    )
    return Evaluation(
        scores=scores,
        mean=mean,
        other_means=dict(zip(list(task.ways)[1:], others, strict=True)),
        n=len(samples),
        samples_path=keep(samples, folder, journal),
        seconds=journal.seconds,
        tokens_generated=lm.tokens_generated,
        batch_size=engine.batch_size,
        extractor=_extractor_label(task, sets),
        too_long=_count_too_long(sets, lm.too_long),
    )


def _score_name(task: TextTask, subset: str, way: str) -> str:
    """The subset for the first way of decoding, ``subset/way`` for another."""
    return subset if way == next(iter(task.ways)) else f"{subset}/{way}"


def _samples(
    logged: Sequence[Mapping[str, Any]],
    name: str,
    extractors: Mapping[str, Extractor],
    prompt_lengths: Mapping[str, int],
) -> Iterator[Sample]:
    """Samples of one test set in its order, the rules after the first folded into ``others``."""
    first_name, first = next(iter(extractors.items()))
    by_rule = {rule: [entry for entry in logged if entry["filter"] == rule] for rule in extractors}
    for index, entry in enumerate(by_rule[first_name]):
        prompt = entry["arguments"][0][0]
        for repeat, text in enumerate(entry["resps"][0]):
            others = {rule: _judged(by_rule[rule][index], repeat) for rule in extractors if rule != first_name}
            yield Sample(
                uid=entry["doc"]["uid"],
                subset=name,
                prompt_sha256=hashlib.sha256(prompt.encode()).hexdigest(),
                prompt_ids_n=prompt_lengths[prompt],
                text=text,
                gold=entry["doc"]["gold"],
                extractor=first.label,
                extractor_version=first.version,
                others=others,
                repeat=repeat,
                **_judged(entry, repeat),
            )


def _judged(entry: Mapping[str, Any], repeat: int) -> dict[str, Any]:
    reading: Reading = entry["filtered_resps"][0]
    return {"extracted": reading.extracted[repeat], "score": float(reading.right[repeat])}


def _scores(
    results: Mapping[str, Any], name: str, task: TextTask, subset: str, way: str, questions: int
) -> Iterator[Score]:
    """The first rule's score under ``name``, another rule's under ``name/rule``, pass@k under ``name/pass@k``."""
    chance = (task.chance() or {}).get(subset)
    rules = list(task.extractors(subset))
    wanted = [(name if rule == rules[0] else f"{name}/{rule}", "accuracy", rule) for rule in rules]
    wanted += [(f"{name}/pass@{k}", f"pass@{k}", rules[0]) for k in task.ways[way].pass_at]
    for score_name, metric, rule in wanted:
        stderr = results[f"{metric}_stderr,{rule}"]
        yield Score(
            subset=score_name,
            metric=metric,
            value=results[f"{metric},{rule}"],
            stderr=stderr if isinstance(stderr, float) else None,
            n=questions,
            chance=chance if metric == "accuracy" else None,
        )


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
