"""What is measured of one contestant; apart from the measuring, so that tables are rendered without torch.

Does not: measure.
"""

from dataclasses import dataclass
from statistics import median

COMPILED = ", compiled"
"""What the name of a contestant ends with that is another one, compiled."""


@dataclass(frozen=True)
class Figures:
    """What was measured of one contestant.

    Attributes:
        trainable: trainable values without task heads.
        adapter_bytes: size of what a run would save.
        step_seconds: of each timed training step.
        evaluation_seconds: of each timed forward pass without gradients, the method folded into the weights if it can.
        saved_bytes: distinct storage that autograd keeps for the backward pass, weights left out.
        peak_allocated_bytes: on a GPU, of one step, with the weights; None on a CPU.
        peak_reserved_bytes: on a GPU, what the allocator held at that peak, the other contestants' factors included.
        step_flops: floating-point operations of the products of a step, a multiply-add being two: of the time, what no
            busy machine changes. None of what is compiled, which is not counted.
        compiling_seconds: of the first step of a contestant that is compiled, which no other figure contains.
    """

    trainable: int
    adapter_bytes: int
    step_seconds: tuple[float, ...]
    evaluation_seconds: tuple[float, ...]
    saved_bytes: int
    peak_allocated_bytes: int | None
    peak_reserved_bytes: int | None
    step_flops: int | None = None
    compiling_seconds: float | None = None

    @property
    def step(self) -> float:
        """Median seconds of a training step."""
        return median(self.step_seconds)

    @property
    def evaluation(self) -> float:
        """Median seconds of a forward pass as evaluation makes it."""
        return median(self.evaluation_seconds)

    @property
    def memory(self) -> int:
        """Bytes that the method decides: the peak where it is known, else what is kept for the backward pass."""
        return self.saved_bytes if self.peak_allocated_bytes is None else self.peak_allocated_bytes
