"""Learning rate as a function of the step: warm-up, then linear, cosine or constant.

The definitions are those of the Hugging Face Trainer, which the official language code uses: linear warm-up over
``ceil(warmup_ratio · steps)`` steps from zero, then a decay that reaches zero after the last step. ``cosine_by_epoch``
is timm's, which the official vision code uses: one rate per epoch, of a cosine that runs from the first epoch to the
last, with the warm-up laid over its beginning.

Does not: hold state; the rate of a step follows from its number alone, so continuing a run needs nothing else.
"""

import math

from wegeft.config import TrainingConfig


def warmup_steps(config: TrainingConfig, total_steps: int) -> int:
    """Steps during which the rate rises; ``ceil(warmup_ratio · total_steps)``."""
    return math.ceil(config.warmup_ratio * total_steps)


def learning_rate(config: TrainingConfig, step: int, total_steps: int, steps_per_epoch: int = 1) -> float:
    """Rate of the optimiser step number ``step`` (0-based) out of ``total_steps``."""
    if config.schedule == "cosine_by_epoch":
        return _rate_of_epoch(config, step // steps_per_epoch)
    warmup = warmup_steps(config, total_steps)
    if step < warmup:
        return config.learning_rate * step / warmup
    progress = (step - warmup) / max(1, total_steps - warmup)
    return config.learning_rate * _decay(config.schedule, progress)


def _rate_of_epoch(config: TrainingConfig, epoch: int) -> float:
    """The rate of ``cosine_by_epoch`` in ``epoch`` (0-based); ``max_steps`` ends a run early and does not bend it."""
    warmup = round(config.warmup_ratio * config.epochs)
    if epoch < warmup:
        return config.warmup_from + (config.learning_rate - config.warmup_from) * epoch / warmup
    lowest = config.min_learning_rate
    return lowest + (config.learning_rate - lowest) * _decay("cosine", min(1.0, epoch / config.epochs))


def _decay(schedule: str, progress: float) -> float:
    """Share of the peak rate after ``progress`` (0 to 1) of the steps that follow the warm-up."""
    if schedule == "linear":
        return 1.0 - progress
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * progress))
    return 1.0


def total_steps(config: TrainingConfig, examples: int) -> int:
    """Optimiser steps of the run: ``max_steps`` if set, else epochs of ceil(examples / batch) steps each."""
    if config.max_steps is not None:
        return config.max_steps
    return config.epochs * steps_per_epoch(config, examples)


def steps_per_epoch(config: TrainingConfig, examples: int) -> int:
    """Optimiser steps that see every example once; the last may be smaller."""
    return math.ceil(examples / config.batch_size)
