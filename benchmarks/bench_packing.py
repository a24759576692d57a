"""Runs per hour on this machine, one at a time against several at once (`hydra/launcher=submitit_local`).

``python -m benchmarks.bench_packing`` writes benchmarks/packing.json. The same short mini runs, each a process of one
thread, all of them anew in a folder of their own. On a GPU: ``--gpus 1``, where runs at once share it. Nothing asserts
these figures.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.conditions import conditions

ROOT = Path(__file__).resolve().parents[1]
RESULT = Path(__file__).with_name("packing.json")


def runs_per_hour(at_once: str, runs: int, steps: int, gpus: int) -> float:
    """Of ``runs`` seeds of the main job with ``steps`` steps, start-up and evaluation included."""
    seeds = ",".join(str(1000 + number) for number in range(runs))
    with tempfile.TemporaryDirectory() as folder:
        sweep = [
            "-m",
            "hydra/launcher=submitit_local",
            f"hydra.launcher.at_once={at_once}",
            f"hydra.launcher.gpus_per_node={gpus}",
            f"seed={seeds}",
            f"training.max_steps={steps}",
            f"output_dir={folder}/runs",
            f"records_dir={folder}/records",
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        started = time.perf_counter()
        subprocess.run([sys.executable, "run.py", *sweep], cwd=ROOT, env=environment, check=True, capture_output=True)
        return 3600 * runs / (time.perf_counter() - started)


def main() -> None:
    """Time the sweep in both ways, and write down the rates and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--gpus", type=int, default=0, help="of each run")
    parser.add_argument("--at-once", default="auto")
    options = parser.parse_args()
    circumstances = conditions()
    rates = {way: runs_per_hour(way, options.runs, options.steps, options.gpus) for way in ("1", options.at_once)}
    result: dict[str, Any] = {
        "runs_per_hour": rates,
        "gain": rates[options.at_once] / rates["1"],
        **circumstances,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["runs_per_hour"]), f"gain {result['gain']:.2f}")


if __name__ == "__main__":
    main()
