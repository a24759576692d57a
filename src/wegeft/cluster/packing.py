"""How many runs share this machine: as many as their estimated memory has room for, and their threads processors.

Small runs leave most of a big GPU idle, and several of them at once make more runs per hour
(``python -m benchmarks.bench_packing``). The memory of a run is the estimate of ``mode=plan``: measured in runs of its
kind where there were any on this machine, else modelled.

Does not: start runs, or watch what they really take (``training.micro_batch_size`` is halved where memory runs out).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wegeft.cluster.runs import Run
from wegeft.errors import UserError

if TYPE_CHECKING:
    from wegeft.planning.runs import Planner

SPARE = 0.9
"""Share of the free memory that is handed out; estimates are within a factor of 1.2 of what was measured."""


@dataclass(frozen=True)
class Room:
    """What runs have to share: ``devices`` of one kind with ``memory`` free bytes each, and ``slots`` for processes."""

    devices: int
    memory: float
    slots: int


def runs_at_once(runs: Sequence[Run], gpus: int, threads: int, room: Room | None = None) -> int:
    """How many of ``runs`` fit on this machine at once, by the largest of their estimates; at least one.

    Args:
        runs: to be carried out.
        gpus: that each run has; 0 on the processor, where ``threads`` processors are its own.
        threads: of each run.
        room: of this machine by default.

    Raises:
        UserError: nobody knows what a run takes, or there is no GPU.
    """
    from wegeft.planning.runs import Planner

    room = room or (room_on_gpus(gpus) if gpus else room_on_processors(threads))
    planner = Planner()
    needed = max(_memory(run, planner) for run in runs)
    together = room.devices * int(SPARE * room.memory // needed)
    return max(1, min(together, room.slots, len(runs)))


def _memory(run: Run, planner: "Planner") -> float:
    """Bytes at the peak of ``run``'s training."""
    memory = planner.planned(run.config, run.overrides).estimate.memory
    if memory is None:
        raise UserError(
            f"hydra.launcher.at_once=auto: no memory can be estimated for model={run.config.model.name}; give a number."
        )
    return memory


def room_on_gpus(gpus: int) -> Room:
    """GPUs, where several runs share one if each wants one; a run with several has them to itself."""
    import torch

    found = torch.cuda.device_count()
    if found < gpus:
        raise UserError(f"hydra.launcher.gpus_per_node={gpus}: this machine has {found}.")
    if gpus > 1:
        return Room(devices=found // gpus, memory=float("inf"), slots=found // gpus)
    free = min(torch.cuda.mem_get_info(device)[0] for device in range(found))
    return Room(devices=found, memory=free, slots=_processors())


def room_on_processors(threads: int) -> Room:
    """The processors and the free memory of this machine."""
    import psutil

    return Room(devices=1, memory=psutil.virtual_memory().available, slots=max(1, _processors() // threads))


def _processors() -> int:
    """Those that this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0))
