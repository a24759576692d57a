"""From a trained classifier and an image task to top-1 accuracy, with every prediction kept.

Does not: merge or load adapters.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from wegeft.evaluation.batch_size import BatchSize
from wegeft.evaluation.config import EvaluationConfig
from wegeft.evaluation.journal import Answer, Journal, fingerprint, keep
from wegeft.evaluation.result import Evaluation, accuracy
from wegeft.evaluation.rounds import answer_all
from wegeft.evaluation.samples import Sample
from wegeft.progress import progress
from wegeft.tasks.image_reader import ImageReader
from wegeft.tasks.image_source import ImageExample
from wegeft.tasks.image_transform import Transform
from wegeft.training.distributed import current
from wegeft.training.transfer import to_device

if TYPE_CHECKING:
    from wegeft.tasks.image import ImageTask

RULE, RULE_VERSION = "argmax", 1
"""The prediction is the class of the largest logit; among equal ones, the first."""


def evaluate_images(
    model: nn.Module, task: "ImageTask", positions: int, config: EvaluationConfig, folder: Path
) -> Evaluation:
    """Predict the class of every test image of ``task``; the predictions go to ``folder``/samples.jsonl.

    Args:
        model: adapted (or merged) classifier on its device; it is put into evaluation mode.
        task: what is asked.
        positions: of the transformer, which samples keep as the length of the question.
        config: sizes.
        folder: the run's own folder.
    """
    examples, subset = task.test_examples()[: config.limit], task.scored_subset
    questions = [(example.uid, _sha256(example)) for example in examples]
    with Journal(folder, fingerprint(model, questions)) as journal:
        size = BatchSize(config, model)
        predicted = predict(model.eval(), task, examples, size, journal)
    samples = [
        _sample(subset, example, label, task.source.classes(), positions)
        for example, label in zip(examples, predicted, strict=True)
    ]
    score = accuracy(subset, [sample.score == 1.0 for sample in samples], (task.chance() or {}).get(subset))
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


@torch.inference_mode()
def predict(
    model: nn.Module, task: "ImageTask", examples: Sequence[ImageExample], size: BatchSize, journal: Journal
) -> list[int]:
    """Class ids of the largest logits, image by image; ``journal`` keeps them as they come."""
    reader, normalise = ImageReader(Transform(task.config.test_transform)), task.config.normalisation
    first, alone, batch_size = next(model.parameters()), current().size == 1, size.of_questions()

    def labels(pixels_BHWC: Tensor) -> list[int]:
        found: list[int] = model(normalise(to_device(pixels_BHWC, first.device), first.dtype)).argmax(dim=-1).tolist()
        return found

    def answer(positions: Sequence[int]) -> list[Answer]:
        pixels_BHWC = reader.read([(examples[position], None) for position in positions])
        if alone:  # else other processes take the batches in between
            reader.expect([(example, None) for example in examples[positions[-1] + 1 :][:batch_size]])
        found = size.in_parts(range(len(positions)), lambda rows: labels(pixels_BHWC[rows[0] : rows[-1] + 1]))
        return [Answer(str(label), tokens=0) for label in found]

    numbers = range(len(examples))
    batches = [numbers[start : start + batch_size] for start in range(0, len(examples), batch_size)]
    with progress(len(examples), "evaluate") as advance:
        found = answer_all([example.uid for example in examples], batches, answer, journal, model, advance)
    return [int(given.text) for given in found]


def _sample(subset: str, example: ImageExample, label: int, classes: Sequence[str], positions: int) -> Sample:
    return Sample(
        uid=example.uid,
        subset=subset,
        prompt_sha256=_sha256(example),
        prompt_ids_n=positions,
        text=classes[label],
        extracted=classes[label],
        gold=classes[example.label],
        score=float(label == example.label),
        extractor=RULE,
        extractor_version=RULE_VERSION,
    )


def _sha256(example: ImageExample) -> str:
    return hashlib.sha256(example.content()).hexdigest()
