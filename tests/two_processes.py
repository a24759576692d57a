"""Two processes that work together, forked from one that has imported what they need."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path

from torch.multiprocessing.spawn import start_processes

WORLD = 2


def run_both(worker: Callable[[int, str], None], folder: Path) -> None:
    """Call ``worker(rank, folder)`` in each; an exception in one ends both and is raised here.

    They are not forked from the process of the tests, whose threads would be missing in them, and they are not spawned,
    since each would then spend seconds on imports.
    """
    multiprocessing.set_forkserver_preload([worker.__module__])
    start_processes(worker, (str(folder),), nprocs=WORLD, start_method="forkserver")
