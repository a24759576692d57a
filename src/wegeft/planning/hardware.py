"""Machines: how long a given work takes on them, fitted to our own records or assumed from data sheets.

The model: seconds = max(flops / F, product bytes / B) + other bytes / B + kernels · t. The rates F, B and t of a
machine are fitted to the training steps of the records made on it, by non-negative least squares of the relative
error; a machine without records has those of ``hardware.yaml``.

Does not: count work.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from wegeft.errors import UserError
from wegeft.planning.work import Work
from wegeft.schema import did_you_mean

Floats = NDArray[np.float64]
AUTO = "auto"
UNKNOWN = "a100"
"""Whose rates a measured machine starts from that the file does not know."""
FEWEST_POINTS = 3
"""Distinct works below which the three rates are not fitted, but the assumed ones scaled."""
PULL = 0.05
"""Weight of the assumed proportions of the rates, against one for all points together."""


@dataclass(frozen=True)
class Machine:
    """One accelerator, or one process on a processor.

    Attributes:
        name: as records or ``hardware.yaml`` call it.
        memory: bytes it has.
        flops, bandwidth: per second, as reached.
        kernel: seconds that starting one kernel takes.
        overhead: bytes that are taken before any tensor.
        points: distinct works that the rates were fitted to; 0: assumed.
    """

    name: str
    memory: float
    flops: float
    bandwidth: float
    kernel: float
    overhead: float
    points: int = 0

    def seconds(self, work: Work) -> float:
        """How long ``work`` takes."""
        products = max(work.flops / self.flops, work.product_bytes / self.bandwidth)
        return products + work.bytes / self.bandwidth + work.kernels * self.kernel

    @property
    def is_gpu(self) -> bool:
        """Whether it is an accelerator; processors are called ``cpu``, or by their name and threads."""
        return "threads" not in self.name and "cpu" not in self.name.lower()

    @property
    def basis(self) -> str:
        """Where the rates come from, in words."""
        return f"modelled, fitted to {self.points} kinds of run" if self.points else "modelled, rates assumed"


@dataclass(frozen=True)
class Point:
    """One kind of run on a machine: work and seconds of a step, bytes of its tensors, bytes at the measured peak."""

    work: Work
    seconds: float
    tensors: float
    memory: float | None
    method: str = ""


def assumed(name: str, dtype: str, measured: bool = False) -> Machine:
    """The machine called ``name`` with assumed rates for ``dtype``; one that was ``measured`` need not be in the file.

    Raises:
        UserError: the file has no such machine.
    """
    content = _file()
    machines: dict[str, Any] = content["machines"]
    found = name if name in machines else next((key for key, one in machines.items() if one["match"] in name), None)
    if found is None and measured:
        found = "cpu" if "threads" in name else UNKNOWN
    if found is None:
        raise UserError(f"plan.hardware={name} is not one of {', '.join(machines)}{did_you_mean(name, machines)}.")
    facts = {**content["assumed"], **machines[found]}
    return Machine(
        name=name,
        memory=facts["memory"],
        flops=facts["flops"][dtype] * facts["flops_reached"],
        bandwidth=facts["bandwidth"] * facts["bytes_reached"],
        kernel=facts["seconds_per_kernel"],
        overhead=facts["memory_overhead"],
    )


def fitted(start: Machine, points: Sequence[Point]) -> Machine:
    """``start`` with the rates that explain ``points`` best; one overall factor where they are too few."""
    if not points:
        return start
    memories = [point.memory - point.tensors for point in points if point.memory]
    overhead = median(memories) if memories else start.overhead
    if len(points) < FEWEST_POINTS:
        factor = float(np.exp(np.mean([np.log(point.seconds / start.seconds(point.work)) for point in points])))
        rates = (start.flops / factor, start.bandwidth / factor, start.kernel * factor)
    else:
        rates = _least_squares(start, points)
    return Machine(start.name, start.memory, *rates, max(overhead, 0.0), len(points))


def _least_squares(start: Machine, points: Sequence[Point]) -> tuple[float, float, float]:
    """Rates with the least squared relative error, none negative; a little pull settles one that nothing tells."""
    rows = [[one.work.flops, one.work.bytes, one.work.kernels] for one in points]
    ours = np.array([1 / start.flops, 1 / start.bandwidth, start.kernel])
    scaled = np.array(rows) * ours / np.array([[one.seconds] for one in points])
    level = 1 / float(np.mean(scaled.sum(axis=1)))
    pull = PULL * np.sqrt(len(points))
    matrix = np.vstack([scaled, pull * np.eye(3) / level])
    factors = np.maximum(_non_negative(matrix, np.append(np.ones(len(points)), [pull] * 3)), 1e-3 * level)
    return start.flops / factors[0], start.bandwidth / factors[1], start.kernel * factors[2]


def _non_negative(matrix: Floats, target: Floats) -> Floats:
    """Least squares under non-negativity: of all choices of columns, the best whose solution has no negative part.

    (With three columns there are seven choices; scipy's solver takes longer to import than these to try.)
    """
    best, least = np.zeros(matrix.shape[1]), np.inf
    for size in range(1, matrix.shape[1] + 1):
        for columns in map(list, itertools.combinations(range(matrix.shape[1]), size)):
            solution = np.linalg.lstsq(matrix[:, columns], target, rcond=None)[0]
            error = float(np.linalg.norm(matrix[:, columns] @ solution - target))
            if error < least and np.all(solution >= 0):
                best, least = np.zeros(matrix.shape[1]), error
                best[columns] = solution
    return best


@cache
def _file() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("hardware.yaml").read_text(encoding="utf-8"))
    return content
