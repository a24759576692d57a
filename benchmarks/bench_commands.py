"""How long the commands a person types take, as whole processes on this machine.

``python -m benchmarks.bench_commands`` writes benchmarks/commands.json: for each command the median, the fastest and
the slowest of its runs in seconds, with the conditions. Nothing asserts these figures.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.conditions import conditions

ROOT = Path(__file__).resolve().parents[1]
RESULT = Path(__file__).with_name("commands.json")
COMMANDS: dict[str, tuple[int, list[str]]] = {
    "run.py --help": (5, ["run.py", "--help"]),
    "run.py --cfg job": (5, ["run.py", "--cfg", "job"]),
    "run.py mode=plan scale=paper model=llama3_8b": (3, ["run.py", "mode=plan", "scale=paper", "model=llama3_8b"]),
    "run.py method=wegeft task=commonsense": (1, ["run.py", "method=wegeft", "task=commonsense", "force=true"]),
    "-m wegeft.tables": (3, ["-m", "wegeft.tables"]),
}
"""What is timed, how often, and the arguments of Python."""


def measure(arguments: list[str], runs: int, folder: Path) -> dict[str, Any]:
    """Wall seconds of ``runs`` runs; what a run writes goes to ``folder``."""
    if "run.py" in arguments:
        arguments = [*arguments, f"output_dir={folder}/runs", f"records_dir={folder}/records"]
    elif "wegeft.tables" in arguments:
        arguments = [*arguments, "--out", str(folder / "tables")]
    if "--help" in arguments:
        arguments = ["run.py", "--help"]
    seconds = []
    for _ in range(runs):
        started = time.perf_counter()
        subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True)
        seconds.append(time.perf_counter() - started)
    return {"median": statistics.median(seconds), "fastest": min(seconds), "slowest": max(seconds), "runs": runs}


def main() -> None:
    """Time every command and write the result."""
    circumstances = conditions()
    with tempfile.TemporaryDirectory() as folder:
        figures = {name: measure(arguments, runs, Path(folder)) for name, (runs, arguments) in COMMANDS.items()}
    report = {"seconds": figures, **circumstances}
    RESULT.write_text(json.dumps(report, indent=1) + "\n")
    for name, figure in figures.items():
        print(f"{figure['median']:8.2f} s  {name}")


if __name__ == "__main__":
    main()
