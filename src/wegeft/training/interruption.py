"""Stopping between two steps when the system asks: SIGTERM, SIGINT, and SIGUSR2 (SLURM's warning before a time limit).

Does not: save anything; whoever reads the flag does.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)


class Interrupted(RuntimeError):
    """The run was asked to stop; its state is on disk and the same command goes on from there."""


@contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """An event that is set once one of :data:`SIGNALS` arrives; the handlers of before come back afterwards.

    Outside the main thread, where Python delivers no signals, the event is never set.
    """
    requested = threading.Event()

    def request(number: int, frame: FrameType | None) -> None:
        del number, frame
        requested.set()

    if threading.current_thread() is not threading.main_thread():
        yield requested
        return
    before = {number: signal.signal(number, request) for number in SIGNALS}
    try:
        yield requested
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
