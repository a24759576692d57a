"""Peak memory of a run: allocated GPU memory where there is a GPU, the resident set of the process elsewhere.

Does not: predict memory.
"""

import resource
import sys

import torch


def reset_peak_memory() -> None:
    """Start a new GPU peak; the peak of a process on a CPU cannot be reset, so there it covers its whole life."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_memory_bytes() -> int:
    """Bytes at the peak: ``max_memory_allocated`` on a GPU, the maximal resident set size on a CPU."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024  # kilobytes on Linux, bytes on macOS
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
