"""How long planning, the status board and the tables of a sweep of 2,000 runs take, as whole processes.

``python -m benchmarks.bench_sweep`` writes benchmarks/sweep.json. Half of the runs get a made-up record, a tenth a log.
The first plan counts the work of every model and method, the second finds it in the cache. Nothing asserts these
figures.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.conditions import conditions
from tests.records.factory import make_record
from wegeft.compose import Composer, split
from wegeft.records.identity import run_id

ROOT = Path(__file__).resolve().parents[1]
RESULT = Path(__file__).with_name("sweep.json")
SWEEP = ("method=wegeft,lora,dora,red,full", "model=mini_llama,smollm2_135m,llama1_7b,llama3_8b")
RATES = ("1e-4", "2e-4", "5e-4", "1e-3", "2e-3")


def write_runs(words: list[str], folder: Path) -> int:
    """Records of every second run and logs of every tenth; returns how many runs there are."""
    composer = Composer()
    runs = split(words)
    (folder / "records").mkdir()
    for number, run in enumerate(runs):
        config = composer.checked(run).plain()
        identity = run_id(config)
        if number % 2 == 0:
            (folder / "records" / f"{identity}.json").write_text(json.dumps(make_record(config)))
        elif number % 10 == 1:
            log = folder / "runs" / identity / "slurm-1.log"
            log.parent.mkdir(parents=True)
            log.write_text("train 120/250 loss 0.2 35 s left\n")
    return len(runs)


def timed(arguments: list[str], cache: Path) -> dict[str, float]:
    """Wall and processor seconds of one command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "WEGEFT_CACHE": str(cache)}
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True, env=environment)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": time.perf_counter() - started, "processor_seconds": spent}


def main() -> None:
    """Write the runs, time every command, and write down how long they took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20, help="100 runs a seed")
    options = parser.parse_args()
    circumstances = conditions()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = [*SWEEP, f"training.learning_rate={','.join(RATES)}", f"seed=range({options.seeds})"]
        words += [f"records_dir={folder}/records", f"output_dir={folder}/runs"]
        count, cache = write_runs(words, folder), folder / "cache"
        plan = ["run.py", "-m", "mode=plan", *words]
        tables = ["-m", "wegeft.tables", "--quiet", "--records", f"{folder}/records", "--out", f"{folder}/tables"]
        figures: dict[str, Any] = {
            "plan, nothing counted before": timed(plan, cache),
            "plan": timed(plan, cache),
            "status": timed(["scripts/sweep.py", "--status", *words], cache),
            "tables": timed(tables, cache),
        }
    report = {"runs": count, "figures": figures, **circumstances}
    RESULT.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
