"""One progress bar for everything that takes more than two seconds: what, how far, how fast, how long still.

On a terminal it is a live bar on stderr; elsewhere (a log file, a cluster job) one line every :data:`LOG_SECONDS`, so
that logs stay short and a stalled job is seen. Of the processes of a distributed run only the first one speaks.

Does not: collect results.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from wegeft.rank import is_first

LOG_SECONDS = 10.0

MOVED = threading.Event()
"""Set whenever anything advances, for whoever watches over the process (``wegeft.training.watch``)."""

Advance = Callable[..., None]
"""``advance(steps=1, note="")``: so many steps are done; ``note`` is shown beside the bar (loss, rate)."""


@contextmanager
def progress(total: int, label: str) -> Iterator[Advance]:
    """A bar of ``total`` steps named ``label``; yields the function that advances it."""
    console = Console(stderr=True)
    reporter = _live(console, total, label) if console.is_terminal else _lines(total, label)
    with reporter if is_first() else nullcontext(_nothing) as report:

        def advance(steps: int = 1, note: str = "") -> None:
            MOVED.set()
            report(steps, note)

        yield advance


def _nothing(steps: int = 1, note: str = "") -> None:
    del steps, note


@contextmanager
def _live(console: Console, total: int, label: str) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(label, total=total, note="")

        def advance(steps: int = 1, note: str = "") -> None:
            bar.update(task, advance=steps, note=note)

        yield advance


@contextmanager
def _lines(total: int, label: str) -> Iterator[Advance]:
    start = last = time.monotonic()
    done = 0

    def advance(steps: int = 1, note: str = "") -> None:
        nonlocal last, done
        done += steps
        now = time.monotonic()
        if now - last >= LOG_SECONDS:
            last = now
            left = (now - start) / done * (total - done) if done else float("nan")
            print(f"{label} {done}/{total} {note} {left:.0f} s left", file=sys.stderr, flush=True)

    yield advance
