"""Watching over a run: one that no longer moves is ended, one that gets worse is marked.

Does not: look at single losses (the loop stops at one that is not finite).
"""

import faulthandler
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import fmean

from wegeft.exits import STALLED
from wegeft.progress import MOVED

PARTS = 10
"""The loss curve is judged by the means of so many equal parts."""
FACTOR, MARGIN = 2.0, 0.1
"""How far the end may lie above the best part: so many times it, and so many nats besides."""


@contextmanager
def watched(minutes: float | None) -> Iterator[None]:
    """End the process with :data:`STALLED` if no progress bar moves for ``minutes``; None never does.

    The whole process ends at once, from a thread of its own: the main one may be waiting in a data loader or in an
    exchange with a process that is gone, where no exception reaches it. What is on disk stays as it is.
    """
    if minutes is None:
        yield
        return
    over = threading.Event()

    def watch() -> None:
        MOVED.set()
        while MOVED.wait(60 * minutes):
            MOVED.clear()
            if over.is_set():
                return
        _end(f"error: nothing has moved for {minutes:g} minutes (runtime.stall_minutes); this process ends.")

    thread = threading.Thread(target=watch, name="watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        MOVED.set()
        thread.join()


def _end(sentence: str) -> None:
    """Say ``sentence`` and where every thread is, and end the process without its consent."""
    print(sentence, file=sys.stderr, flush=True)
    faulthandler.dump_traceback(file=sys.stderr)
    os._exit(STALLED)


def is_diverging(losses: Sequence[float]) -> bool:
    """Whether a run whose losses all were finite got worse instead of better.

    The rule: cut the losses into :data:`PARTS` equal parts and take their means. The run diverges if the last mean is
    above the first one, or above :data:`FACTOR` times the least one plus :data:`MARGIN`. Fewer than ten steps a part
    say nothing.
    """
    size = len(losses) // PARTS
    if size < PARTS:
        return False
    means = [fmean(losses[part * size : (part + 1) * size]) for part in range(PARTS - 1)]
    last = fmean(losses[(PARTS - 1) * size :])
    return last > means[0] or last > FACTOR * min(means) + MARGIN
