"""How long `make tables` takes for 5,000 records: python benchmarks/bench_tables.py [--records N].

Writes made-up records with full loss curves to a temporary folder, renders every table from them in a fresh process,
and prints the wall time and the processor time.
"""

import argparse
import copy
import itertools
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.records.factory import SUBSETS, make_config, make_record  # noqa: E402  # the tests are not installed
from wegeft.records import write_record  # noqa: E402


def write_records(folder: Path, count: int) -> None:
    """``count`` records over scales, backbones, methods, learning rates and seeds."""
    models = (("mini", "clean", "mini_llama"), ("small", "clean", "smollm2_135m"), ("paper", "v5", "llama3_8b"))
    rates = [10 ** -(2 + step / 20) for step in range(60)]
    choices = itertools.product(models, ("full", "wegeft", "lora", "dora", "red"), rates, range(42, 48))
    for (scale, protocol, model), method, rate, seed in itertools.islice(choices, count):
        values = dict.fromkeys(SUBSETS, 0.5 + (seed - 45) / 100)
        record = make_record(make_config(method, seed, model, scale, protocol, learning_rate=rate), values)
        record["training"] = copy.deepcopy(record["training"])
        record["training"]["loss_curve"] = [[step, 2.5 / step] for step in range(1, 501)]
        record["prompt"]["input_ids"] = list(range(200))
        write_record(record, folder)


def main() -> None:
    """Write, render, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=5000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_records(folder / "records", options.records)
        size = sum(path.stat().st_size for path in (folder / "records").iterdir())
        command = [sys.executable, "-m", "wegeft.tables", "--quiet"]
        command += ["--records", str(folder / "records"), "--out", str(folder / "tables")]
        started = time.perf_counter()
        subprocess.run(command, cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"python -m wegeft.tables: {options.records} records ({size / 1e6:.0f} MB) in {seconds:.1f} s, "
        f"of which {used.ru_utime + used.ru_stime:.1f} s on a processor"
    )


if __name__ == "__main__":
    main()
