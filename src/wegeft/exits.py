"""Exit codes of ``run.py``, for people, shell scripts and the requeue rules of a cluster (docs/running.md).

Does not: exit.
"""

FINISHED = 0
"""The run has its record."""
BAD_INPUT = 2
"""Something that was asked for cannot be had; one sentence on stderr says what."""
DIVERGED = 3
"""A loss or gradient was not finite; the record says so, and the run is over."""
BUSY = 4
"""Another process works at the same run."""
STORAGE = 5
"""A full disk or a read-only folder; what was there before is whole, and the same command goes on from it."""
STALLED = 6
"""Nothing moved for ``runtime.stall_minutes``; the same command goes on from the last checkpoint."""
INTERRUPTED = 75
"""The run was asked to stop and goes on when it is started again (EX_TEMPFAIL: try again)."""
