"""What a run took: peak memory of the host and of the GPU, and space on the disk.

Does not: predict memory.
"""

import resource
import sys
from pathlib import Path

import torch

from wegeft.training.distributed import World


def reset_peak_memory() -> None:
    """Start a new GPU peak; the peak of a process on a CPU cannot be reset, so there it covers its whole life."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_memory_bytes() -> int:
    """Bytes at the peak: ``max_memory_allocated`` on a GPU, the maximal resident set size on a CPU."""
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else host_peak_bytes()


def usage(folder: Path, world: World) -> dict[str, int | None]:
    """The part ``resources`` of a record; of several processes the largest, on every one of them.

    Keys: ``processes``; ``host_peak_bytes`` (resident set of a process; after an interruption, of its last part),
    ``gpu_peak_bytes`` (allocated; None without a GPU), ``disk_bytes`` (the files in ``folder``, checkpoints included).
    """
    gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    peaks = world.collect([host_peak_bytes(), gpu])
    return {
        "processes": world.size,
        "host_peak_bytes": max(host for host, _ in peaks),
        "gpu_peak_bytes": max(gpu for _, gpu in peaks) or None,
        "disk_bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
    }


def host_peak_bytes() -> int:
    """Maximal resident set size of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024  # kilobytes on Linux, bytes on macOS
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
