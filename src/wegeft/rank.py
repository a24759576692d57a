"""Which of the processes of a run this one is, as far as the launcher (``torchrun``, ``accelerate launch``) says so.

Does not: import torch; ``wegeft.training.distributed`` is about what the processes do together.
"""

import os


def is_first() -> bool:
    """Whether this process is the one that speaks: the only one, or the first of those that were started."""
    return int(os.environ.get("RANK", "0")) == 0


def started() -> int:
    """How many processes the launcher has started for this run."""
    return int(os.environ.get("WORLD_SIZE", "1"))
