"""What training did: sizes, time and the curve.

Does not: compute anything.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class TrainingResult:
    """Counters of a run, filled in step by step.

    Attributes:
        steps: optimiser steps taken.
        examples: training examples seen, repeats included.
        tokens: positions processed, padding excluded.
        units: label tokens (text) or images (vision) in the loss.
        seconds: wall time of the loop, over all its parts if it was interrupted.
        loss_curve: (step, mean loss per unit in nats, gradient norm before clipping) of every step.
        peak_memory_bytes: largest allocation on the device (GPU) or of the process (CPU).
        parts: of every process that took part one after the other, ``from_step`` and the ``provenance`` it gave.
    """

    steps: int = 0
    examples: int = 0
    tokens: int = 0
    units: int = 0
    seconds: float = 0.0
    loss_curve: list[tuple[int, float, float]] = field(default_factory=list)
    peak_memory_bytes: int = 0
    parts: list[dict[str, Any]] = field(default_factory=list)
