"""How much of a cluster's time does a sweep use well, if its jobs are preempted? A simulation, and what it rests on.

``python -m benchmarks.sim_preemption`` writes benchmarks/preemption.json. 2,000 runs wait for 64 GPUs; each GPU takes
next run, loses it to a preemption now and then (exponential times between them), and the run goes back to the end
of the queue, to go on from its last checkpoint. A preemption without a warning costs the work since then; one
with a warning (SIGTERM, SIGUSR2) costs one checkpoint more. Measured here: what writing a checkpoint costs. Stated:
hours of a run, seconds to start one, preemptions per GPU and day.
"""

import argparse
import heapq
import json
import math
import random
import statistics
import tempfile
import time
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.conditions import conditions
from wegeft.training import checkpoint
from wegeft.training.result import TrainingResult

RESULT = Path(__file__).with_name("preemption.json")
TRAINED = {"wegeft r=64, Llama 3 8B": 3_932_160, "lora r=32, Llama 3 8B": 56_623_104}
"""Trained parameters, of which a checkpoint holds three copies in fp32."""
INTERVALS_S = (10, 30, 60, 120, 300, 600, 1800, 3600, 7200)


@dataclass(frozen=True)
class Cluster:
    """What is simulated.

    ``preemptions_per_day`` strike each GPU; ``start_s`` is lost whenever a run starts, first or again; ``warned`` says
    whether a preempted run is told in time to write a checkpoint.
    """

    runs: int = 2000
    gpus: int = 64
    run_h: float = 8.5
    start_s: float = 120.0
    preemptions_per_day: float = 4.0
    warned: bool = False


@dataclass
class _Run:
    left_s: float


@dataclass(frozen=True)
class Outcome:
    """``useful`` is the share of the GPUs' busy time in which steps were made that counted."""

    useful: float
    days: float
    preemptions: int


def simulate(cluster: Cluster, interval_s: float, cost_s: float, seed: int) -> Outcome:
    """One sweep from its first job to its last, with a checkpoint of ``cost_s`` after every ``interval_s`` of work."""
    source = random.Random(seed)
    queue = deque(_Run(cluster.run_h * 3600) for _ in range(cluster.runs))
    free = [(0.0, gpu) for gpu in range(cluster.gpus)]
    heapq.heapify(free)
    busy, preempted, end = 0.0, 0, 0.0
    back: list[tuple[float, int, _Run]] = []
    while queue or back:
        now, gpu = heapq.heappop(free)
        while back and (back[0][0] <= now or not queue):
            returned, _, run = heapq.heappop(back)
            queue.append(run)
            now = max(now, returned)
        run = queue.popleft()
        held = _hold(run, source.expovariate(cluster.preemptions_per_day / 86_400), cluster, interval_s, cost_s)
        busy += held
        end = max(end, now + held)
        heapq.heappush(free, (now + held, gpu))
        if run.left_s > 0:
            preempted += 1
            heapq.heappush(back, (now + held, preempted, run))
    return Outcome(cluster.runs * cluster.run_h * 3600 / busy, end / 86_400, preempted)


def _hold(run: _Run, strike_s: float, cluster: Cluster, interval_s: float, cost_s: float) -> float:
    """How long ``run`` holds its GPU until it ends or a preemption strikes; what it keeps of its work is taken off."""
    checkpoints = math.ceil(run.left_s / interval_s) - 1
    whole = cluster.start_s + run.left_s + checkpoints * cost_s
    if strike_s >= whole:
        run.left_s = 0.0
        return whole
    worked = max(0.0, strike_s - cluster.start_s)
    rounds = math.floor(worked / (interval_s + cost_s))
    kept = rounds * interval_s
    if cluster.warned and worked > 0:
        kept += min(interval_s, worked - rounds * (interval_s + cost_s))
    run.left_s -= min(kept, run.left_s - 1e-6)
    return strike_s + (cost_s if cluster.warned and worked > 0 else 0.0)


def checkpoint_seconds(trained: int, times: int = 5) -> float:
    """Median seconds of writing a checkpoint of so many trained parameters, flushed to the disk."""
    parameter = torch.nn.Parameter(torch.randn(trained))
    optimizer = torch.optim.AdamW([parameter])
    parameter.grad = torch.randn(trained)
    optimizer.step()
    seconds = []
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        for step in range(times):
            started = time.perf_counter()
            checkpoint.save(Path(folder), {"theta": parameter}, optimizer, TrainingResult(steps=step))
            seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def main() -> None:
    """Measure the checkpoint, simulate every interval, and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    circumstances = conditions()
    rows = []
    for name, trained in TRAINED.items():
        cost = checkpoint_seconds(trained)
        for warned in (False, True):
            cluster = Cluster(warned=warned)
            for interval in INTERVALS_S:
                found = [simulate(cluster, interval, cost, seed) for seed in range(options.seeds)]
                useful, days = (statistics.fmean(getattr(one, part) for one in found) for part in ("useful", "days"))
                rows.append(
                    {"method": name, "checkpoint_s": cost, "warned": warned, "interval_s": interval}
                    | {"useful": round(useful, 4), "days": round(days, 2)}
                )
                print(
                    f"{name:26} {'warned' if warned else 'killed'} every {interval:5} s: {useful:.1%}, {days:.1f} days"
                )
    report = {"cluster": asdict(Cluster()), "rows": rows, **circumstances}
    RESULT.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
