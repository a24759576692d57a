"""Learning rate as a function of the step: warm-up, then linear, cosine or constant.

The definitions are those of the Hugging Face Trainer, which the official language code uses: linear warm-up over
``ceil(warmup_ratio · steps)`` steps from zero, then a decay that reaches zero after the last step.

Does not: hold state; the rate of a step follows from its number alone, so continuing a run needs nothing else.
"""

import math

from wegeft.config import TrainingConfig


def warmup_steps(config: TrainingConfig, total_steps: int) -> int:
    """Steps during which the rate rises; ``ceil(warmup_ratio · total_steps)``."""
    return math.ceil(config.warmup_ratio * total_steps)


def learning_rate(config: TrainingConfig, step: int, total_steps: int) -> float:
    """Rate of the optimiser step number ``step`` (0-based) out of ``total_steps``."""
    warmup = warmup_steps(config, total_steps)
    if step < warmup:
        return config.learning_rate * step / warmup
    progress = (step - warmup) / max(1, total_steps - warmup)
    return config.learning_rate * _decay(config.schedule, progress)


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
    return config.epochs * math.ceil(examples / config.batch_size)
