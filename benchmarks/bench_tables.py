"""How long the tables take for 5,000 records.

``python -m benchmarks.bench_tables`` writes benchmarks/tables.json. The records are made up, with full loss curves and
the outcome of every question, over three scales, five methods, many learning rates and six seeds; the tables are
rendered from them in a fresh process. Nothing asserts these figures.
"""

import argparse
import copy
import itertools
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.conditions import conditions
from tests.records.factory import SUBSETS, make_config, make_record

ROOT = Path(__file__).resolve().parents[1]
RESULT = Path(__file__).with_name("tables.json")


def write_records(folder: Path, count: int) -> None:
    """Write ``count`` records, without the flush to disk that a run's own record gets."""
    models = (("mini", "clean", "mini_llama"), ("small", "clean", "smollm2_135m"), ("paper", "v5", "llama3_8b"))
    rates = [10 ** -(2 + step / 20) for step in range(60)]
    choices = itertools.product(models, ("full", "wegeft", "lora", "dora", "red"), rates, range(42, 48))
    source = random.Random(0)
    folder.mkdir()
    for (scale, protocol, model), method, rate, seed in itertools.islice(choices, count):
        values = dict.fromkeys(SUBSETS, 0.5 + (seed - 45) / 100)
        record = make_record(make_config(method, seed, model, scale, protocol, learning_rate=rate), values)
        record["training"] = copy.deepcopy(record["training"])
        record["training"]["loss_curve"] = [[step, 2.5 / step] for step in range(1, 501)]
        record["prompt"]["input_ids"] = list(range(200))
        record["evaluation"]["outcomes"] = {
            subset: {"questions": "0" * 16, "right": f"{source.getrandbits(500):0125x}"} for subset in SUBSETS
        }
        (folder / f"{record['run_id']}.json").write_text(json.dumps(record))


def main() -> None:
    """Write records, render, and write down how long it took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--records", type=int, default=5000)
    options = parser.parse_args()
    circumstances = conditions()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_records(folder / "records", options.records)
        size = sum(path.stat().st_size for path in (folder / "records").iterdir())
        command = [sys.executable, "-m", "wegeft.tables", "--quiet"]
        command += ["--records", str(folder / "records"), "--out", str(folder / "tables")]
        started = time.perf_counter()
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # as the Makefile does
        subprocess.run(command, cwd=ROOT, check=True, stderr=subprocess.DEVNULL, env=environment)
        seconds = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = {
        "seconds": seconds,
        "processor_seconds": used.ru_utime + used.ru_stime,
        "records": options.records,
        "bytes": size,
        **circumstances,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
