"""What a watched run is ended or marked for."""

import subprocess
import sys
import threading

import pytest

from wegeft.exits import STALLED
from wegeft.training.watch import is_diverging, watched

STALL = """
import time
from wegeft.progress import progress
from wegeft.training.watch import watched
with watched(0.002), progress(10, "wait") as advance:
    advance()
    time.sleep(60)
"""


def test_a_run_that_does_not_move_is_ended_with_a_message() -> None:
    done = subprocess.run([sys.executable, "-c", STALL], check=False, capture_output=True, text=True)
    assert done.returncode == STALLED
    assert "error: nothing has moved for 0.002 minutes (runtime.stall_minutes); this process ends." in done.stderr
    assert 'File "<string>", line 7 in <module>' in done.stderr  # where it hung


def test_nobody_watches_any_more_once_the_run_is_over() -> None:
    with watched(60):
        assert "watch" in {thread.name for thread in threading.enumerate()}
    assert "watch" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([4.0 - 0.03 * step for step in range(100)], False),
        ([1.0] * 100, False),
        ([4.0 - 0.03 * step for step in range(90)] + [9.0] * 10, True),  # ends above its beginning
        ([4.0 - 0.03 * step for step in range(90)] + [3.5] * 10, True),  # ends at over twice its best
        ([0.02] * 90 + [0.06] * 10, True),
        ([4.0] * 10 + [0.02] * 80 + [0.06] * 10, False),  # thrice its best, but by less than the margin
        ([1.0] * 50 + [9.0] * 49, False),  # too short to tell
    ],
)
def test_a_loss_that_got_worse_is_marked(losses: list[float], expected: bool) -> None:
    assert is_diverging(losses) is expected
