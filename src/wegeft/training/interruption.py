"""Stopping when the system asks: SIGTERM, SIGINT, and SIGUSR2 (SLURM's warning before a time limit).

Where there is a state worth saving, between two steps; elsewhere at once.

Does not: save anything; whoever reads the flag does.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)


class Interrupted(BaseException):
    """The run was asked to stop; its state is on disk and the same command goes on from there.

    Like KeyboardInterrupt no ``Exception``, so that no library takes it for an error of its own and goes on.
    """


@contextmanager
def interruptible() -> Iterator[None]:
    """Within, a signal of :data:`SIGNALS` raises :class:`Interrupted` at once, unless `stop_requests` collects it."""
    with _handling(_interrupt):
        yield


@contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """An event that is set once one of :data:`SIGNALS` arrives; the handlers of before come back afterwards.

    A request that nobody followed until then is followed at once, if `interruptible` is around. Outside the main
    thread, where Python delivers no signals, the event is never set.
    """
    requested = threading.Event()
    at_once = signal.getsignal(signal.SIGTERM) is _interrupt

    def request(number: int, frame: FrameType | None) -> None:
        del number, frame
        requested.set()

    with _handling(request):
        yield requested
    if at_once and requested.is_set():
        raise Interrupted("stopped on request")


def _interrupt(number: int, frame: FrameType | None) -> None:
    del frame
    raise Interrupted(f"stopped by {signal.Signals(number).name}")


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
