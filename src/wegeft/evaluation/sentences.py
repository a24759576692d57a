"""From a trained classifier of sentences to its metric, with every prediction kept.

Does not: merge or load adapters, or choose an epoch.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from wegeft.evaluation.batch_size import BatchSize
from wegeft.evaluation.config import EvaluationConfig
from wegeft.evaluation.generate import batches
from wegeft.evaluation.journal import Answer, Journal, fingerprint, keep
from wegeft.evaluation.metrics import METRICS, Metric, correlation_error
from wegeft.evaluation.result import Evaluation, Score, accuracy
from wegeft.evaluation.rounds import answer_all
from wegeft.evaluation.samples import Sample
from wegeft.progress import progress
from wegeft.tasks.sentence_encoding import EncodedPair, SentenceEncoder
from wegeft.training.sentence_objective import logits
from wegeft.training.transfer import batch_to_device

RULE, RULE_VERSION = "argmax", 1
"""The class of the largest logit, among equal ones the first; a score is the one output as it is."""
SCORE_RANGE = 5.0
"""Scores lie between 0 and this (STS-B)."""


def predict(
    model: nn.Module, encoder: SentenceEncoder, examples: Sequence[EncodedPair], batch_size: int
) -> list[float]:
    """Class ids, or scores where the head has one output, in the order of ``examples``."""
    found = [0.0] * len(examples)
    with progress(len(examples), "evaluate") as advance:
        for positions in batches([example.input_ids for example in examples], batch_size):
            values = _predict_batch(model, encoder, [examples[position] for position in positions])
            for position, value in zip(positions, values, strict=True):
                found[position] = value
            advance(len(positions))
    return found


@torch.inference_mode()
def _predict_batch(model: nn.Module, encoder: SentenceEncoder, examples: Sequence[EncodedPair]) -> list[float]:
    device = next(model.parameters()).device
    logits_BK = logits(model, batch_to_device(encoder.collate(examples), device))
    values_B = logits_BK[:, 0] if logits_BK.shape[1] == 1 else logits_BK.argmax(dim=-1)
    return [float(value) for value in values_B.tolist()]


def _predict_on(
    model: nn.Module, encoder: SentenceEncoder, examples: Sequence[EncodedPair], size: BatchSize, journal: Journal
) -> list[float]:
    """As `predict`, from where ``journal`` stopped, and shared by all processes."""

    def answer(positions: Sequence[int]) -> list[Answer]:
        values = size.in_parts(positions, lambda part: _predict_batch(model, encoder, [examples[p] for p in part]))
        return [Answer(repr(value), tokens=0) for value in values]

    together = batches([example.input_ids for example in examples], size.of_questions())
    with progress(len(examples), "evaluate") as advance:
        found = answer_all([e.pair.uid for e in examples], together, answer, journal, model, advance)
    return [float(given.text) for given in found]


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
    config: EvaluationConfig,
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
        config: sizes; ``examples`` are cut to its limit before.
        folder: the run's own folder.
    """
    model.eval()
    with Journal(folder, fingerprint(model, [(e.pair.uid, _sha256(e)) for e in examples])) as journal:
        size = BatchSize(config, model)
        predicted = _predict_on(model, encoder, examples, size, journal)
    samples = [_sample(subset, e, value, labels) for e, value in zip(examples, predicted, strict=True)]
    if metric == "accuracy":
        score = accuracy(subset, [sample.score == 1.0 for sample in samples], chance)
    else:
        error = correlation_error(predicted, [example.pair.label for example in examples])
        score = Score(subset, metric, measure(metric, predicted, examples), error, len(examples), chance)
    return Evaluation(
        scores={subset: score},
        mean=score.value,
        n=len(samples),
        samples_path=keep(samples, folder, journal),
        seconds=journal.seconds,
        tokens_generated=0,
        batch_size=size.used,
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
        prompt_sha256=_sha256(example),
        prompt_ids_n=len(example.input_ids),
        text=text,
        extracted=text,
        gold=gold,
        score=score,
        extractor=RULE,
        extractor_version=RULE_VERSION,
    )


def _sha256(example: EncodedPair) -> str:
    return hashlib.sha256(f"{example.pair.first}\t{example.pair.second or ''}".encode()).hexdigest()
