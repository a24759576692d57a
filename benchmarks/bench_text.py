"""How long text takes before and after the model: tokenising a training set of 170,420 rows, scoring 22,419 answers.

``python -m benchmarks.bench_text --tokenizer FOLDER`` writes benchmarks/text.json. The rows are the mini world's, each
numbered so that no two are the same, repeated up to the size of the published sets; with ``--data-root`` they are the
real rows, as many as are there. Nothing asserts these figures.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from transformers import AutoTokenizer

from benchmarks.conditions import conditions
from wegeft.cli import CONFIG_FOLDER, to_run_config
from wegeft.evaluation.rescore import rescore
from wegeft.evaluation.samples import Sample, read_samples, write_samples
from wegeft.tasks import Example, build_task
from wegeft.tasks.encoding import TextEncoder
from wegeft.tasks.encoding_cache import encode_cached
from wegeft.tasks.protocol import ProtocolConfig
from wegeft.tasks.text import TextTask

RESULT = Path(__file__).with_name("text.json")
TRAIN_ROWS = 170_420
TEST_ROWS = 22_419


def main() -> None:
    """Time and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tokenizer", required=True, help="folder or hub id of a tokenizer")
    parser.add_argument("--data-root", help="folder of the real rows")
    options = parser.parse_args()
    circumstances = conditions()
    overrides = ["protocol.truncation=skip"]
    overrides += ["scale=paper", "protocol=clean", f"data.root={options.data_root}"] if options.data_root else []
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        composed = compose("config", overrides=overrides)
    config = to_run_config(composed)
    task = build_task(config.task)
    assert isinstance(task, TextTask)
    assert isinstance(config.protocol, ProtocolConfig)
    examples = task.train_examples() if options.data_root else many(task.train_examples())
    encoder = TextEncoder(AutoTokenizer.from_pretrained(options.tokenizer), config.protocol)
    with tempfile.TemporaryDirectory() as folder:
        figures = encoding(encoder, examples, Path(folder)) | scoring(task, Path(folder))
    sizes = {"train_rows": len(examples), "test_answers": TEST_ROWS, "tokenizer": Path(options.tokenizer).name}
    report = {"seconds": figures, **sizes, **circumstances}
    RESULT.write_text(json.dumps(report, indent=1) + "\n")
    for name, seconds in figures.items():
        print(f"{seconds:8.2f} s  {name}")


def many(examples: list[Example]) -> list[Example]:
    """``TRAIN_ROWS`` different examples out of a few thousand."""
    repeated = islice(cycle(examples), TRAIN_ROWS)
    return [replace(e, uid=f"{e.uid}/{n}", prompt=f"{n}. {e.prompt}") for n, e in enumerate(repeated)]


def encoding(encoder: TextEncoder, examples: list[Example], folder: Path) -> dict[str, float]:
    """Seconds of the first and of the second time."""
    first = timed(lambda: encode_cached(encoder, examples, folder))
    second = timed(lambda: encode_cached(encoder, examples, folder))
    return {"tokenise the training rows": first, "the same from the cache": second}


def scoring(task: TextTask, folder: Path) -> dict[str, float]:
    """Seconds of reading kept answers and scoring them again."""
    text, gold = "the correct answer is true", "true"
    samples = [
        Sample(f"boolq/test/{n}", "boolq", "0" * 64, 80, text, gold, gold, 1.0, "AfterTrigger", 1)
        for n in range(TEST_ROWS)
    ]
    path = write_samples(samples, folder)
    return {"score the test answers from their file": timed(lambda: rescore(read_samples(path), task))}


def timed(work: Callable[[], Any]) -> float:
    """Wall seconds of ``work``."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
