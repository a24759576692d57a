"""How many examples go through the network at once, made smaller when the device's memory does not suffice.

Does not: look at memory before it is used up, or make a size larger again.
"""

import gc
import sys
from collections.abc import Callable
from typing import ClassVar, TypeVar

import torch

from wegeft.errors import UserError

T = TypeVar("T")


class WithinMemory:
    """A size that lasts for the rest of a run once it was made smaller; subclasses say of what.

    Attributes:
        key: of the configuration, which sets the size.
        unit: what is counted.
        too_large: what to say where one at a time is too much.
        size: how many at once; None is all that there are.
        is_fixed: it cannot be made smaller, because other processes would not follow.
    """

    key: ClassVar[str]
    unit: ClassVar[str]
    too_large: ClassVar[str]

    def __init__(self, size: int | None, is_fixed: bool = False) -> None:
        self.size = size
        self.is_fixed = is_fixed

    def within_memory(self, examples: int, attempt: Callable[[int | None], T], undo: Callable[[], None]) -> T:
        """``attempt(size)``, after ``undo()`` with half of it for as long as the device's memory does not suffice.

        Args:
            examples: how many there are at most.
            attempt: what needs memory for as many at once as it is given.
            undo: takes back what a broken-off attempt has left, gradients above all.

        Raises:
            UserError: not even one at a time fits, or the size is fixed.
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
            print(f"out of memory: going on with {self.key}={self.size}", file=sys.stderr)

    def _halve(self, at_once: int, error: Exception) -> None:
        if at_once == 1:
            raise UserError(self.too_large) from error
        if self.is_fixed:
            raise UserError(
                f"The device's memory does not hold {at_once} {self.unit}: set a smaller {self.key}."
            ) from error
        self.size = -(-at_once // 2)
