"""From a trained classifier of sentences to its metric, with every prediction kept.

Does not: merge or load adapters, or choose an epoch.
"""

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from wegeft.evaluation.metrics import METRICS, Metric
from wegeft.evaluation.result import Evaluation, Score, accuracy
from wegeft.evaluation.samples import Sample, write_samples
from wegeft.progress import progress
from wegeft.tasks.sentence_encoding import EncodedPair, SentenceEncoder
from wegeft.training.sentence_objective import logits

RULE, RULE_VERSION = "argmax", 1
"""The class of the largest logit, among equal ones the first; a score is the one output as it is."""
SCORE_RANGE = 5.0
"""Scores lie between 0 and this (STS-B)."""


@torch.inference_mode()
def predict(
    model: nn.Module, encoder: SentenceEncoder, examples: Sequence[EncodedPair], batch_size: int
) -> list[float]:
    """Class ids, or scores where the head has one output, in the order of ``examples``."""
    device = next(model.parameters()).device
    order = sorted(range(len(examples)), key=lambda position: -len(examples[position].input_ids))
    found = [0.0] * len(examples)
    with progress(len(examples), "evaluate") as advance:
        for first in range(0, len(order), batch_size):
            positions = order[first : first + batch_size]
            batch = encoder.collate([examples[position] for position in positions])
            logits_BK = logits(model, {name: tensor.to(device) for name, tensor in batch.items()})
            values_B = logits_BK[:, 0] if logits_BK.shape[1] == 1 else logits_BK.argmax(dim=-1)
            for position, value in zip(positions, values_B.tolist(), strict=True):
                found[position] = float(value)
            advance(len(positions))
    return found


def measure(metric: Metric, predicted: Sequence[float], examples: Sequence[EncodedPair]) -> float:
    """The metric of ``predicted``."""
    return METRICS[metric](predicted, [example.pair.label for example in examples])


def evaluate_sentences(
    model: nn.Module,
    encoder: SentenceEncoder,
    examples: Sequence[EncodedPair],
    subset: str,
    metric: Metric,
    labels: tuple[str, ...] | None,
    chance: float | None,
    batch_size: int,
    folder: Path,
) -> Evaluation:
    """Predict ``examples`` and score them; the predictions go to ``folder``/samples.jsonl.

    Args:
        model: adapted (or merged) classifier on its device; it is put into evaluation mode.
        encoder: that made ``examples``.
        examples: what is asked.
        subset: name of the set.
        metric: what is reported.
        labels: names of the classes; None for a score.
        chance: value of the metric for a guess.
        batch_size: examples at once.
        folder: the run's own folder.
    """
    started = time.perf_counter()
    predicted = predict(model.eval(), encoder, examples, batch_size)
    samples = [_sample(subset, e, value, labels) for e, value in zip(examples, predicted, strict=True)]
    if metric == "accuracy":
        score = accuracy(subset, [sample.score == 1.0 for sample in samples], chance)
    else:  # no mean over examples, so no standard error of one
        score = Score(subset, metric, measure(metric, predicted, examples), None, len(examples), chance)
    return Evaluation(
        scores={subset: score},
        mean=score.value,
        n=len(samples),
        samples_path=write_samples(samples, folder),
        seconds=time.perf_counter() - started,
        tokens_generated=0,
        batch_size=batch_size,
        extractor={"name": RULE, "version": str(RULE_VERSION)},
    )


def _sample(subset: str, example: EncodedPair, value: float, labels: tuple[str, ...] | None) -> Sample:
    pair = example.pair
    if labels is None:
        text, gold = f"{value:.4f}", f"{pair.label:g}"
        score = max(0.0, 1 - abs(value - pair.label) / SCORE_RANGE)
    else:
        text, gold, score = labels[int(value)], labels[int(pair.label)], float(value == pair.label)
    return Sample(
        uid=pair.uid,
        subset=subset,
        prompt_sha256=hashlib.sha256(f"{pair.first}\t{pair.second or ''}".encode()).hexdigest(),
        prompt_ids_n=len(example.input_ids),
        text=text,
        extracted=text,
        gold=gold,
        score=score,
        extractor=RULE,
        extractor_version=RULE_VERSION,
    )
