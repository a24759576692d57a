"""How many examples of a training step go through the network at once.

The global batch stays as it is: the loss of a step is a sum over all of it, whatever the micro-batches.

Does not: look at memory before it is used up, or make micro-batches larger again.
"""

from typing import ClassVar

from wegeft.within_memory import WithinMemory


class MicroBatch(WithinMemory):
    """The size of micro-batches; None is the whole batch."""

    key: ClassVar[str] = "training.micro_batch_size"
    unit: ClassVar[str] = "examples"
    too_large: ClassVar[str] = (
        "The device's memory does not hold a training step of one example: set "
        "training.gradient_checkpointing=true, or take a smaller backbone or a larger device."
    )
