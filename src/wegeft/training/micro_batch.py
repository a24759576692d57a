"""How many examples go through the network at once, made smaller when memory does not suffice.

The global batch stays as it is: the loss of a step is a sum over all of it, whatever the micro-batches.

Does not: look at memory before it is used up, or make micro-batches larger again.
"""

import gc
import sys
from collections.abc import Callable
from typing import TypeVar

import torch

from wegeft.errors import UserError

T = TypeVar("T")


class MicroBatch:
    """The size of micro-batches, which lasts for the rest of a run once it was made smaller.

    Attributes:
        size: examples at once; None is the whole batch.
        is_fixed: it cannot be made smaller, because other processes would not follow.
    """

    def __init__(self, size: int | None, is_fixed: bool = False) -> None:
        self.size = size
        self.is_fixed = is_fixed

    def within_memory(self, examples: int, attempt: Callable[[int | None], T], undo: Callable[[], None]) -> T:
        """``attempt(size)``, after ``undo()`` with half of it for as long as the device's memory does not suffice.

        Args:
            examples: how many examples the batch has.
            attempt: a forward and backward pass in micro-batches of the size that it is given.
            undo: takes back what a broken-off attempt has left, gradients above all.

        Raises:
            UserError: not even one example at a time fits, or the size is fixed.
        """
        while True:
            try:
                return attempt(self.size)
            except torch.OutOfMemoryError as error:
                self._halve(min(self.size or examples, examples), error)
            # Outside of the handler, whose traceback would keep the tensors of the attempt alive.
            undo()
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            print(f"out of memory: going on with training.micro_batch_size={self.size}", file=sys.stderr)

    def _halve(self, at_once: int, error: Exception) -> None:
        if at_once == 1:
            raise UserError(
                "The device's memory does not hold a training step of one example: set "
                "training.gradient_checkpointing=true, or take a smaller backbone or a larger device."
            ) from error
        if self.is_fixed:
            raise UserError(
                f"The device's memory does not hold {at_once} examples: set a smaller training.micro_batch_size."
            ) from error
        self.size = -(-at_once // 2)
