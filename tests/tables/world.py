"""A folder of made-up records with every awkward thing in it, for the tests of tables."""

import random
from pathlib import Path
from typing import Any

from tests.records.factory import SUBSETS, make_config, make_record
from wegeft.records import write_record

PAPER = Path(__file__).parents[2] / "results" / "paper"


def awkward_records() -> list[dict[str, Any]]:
    """Two backbones, several methods, a diverged seed, a dirty run, a missing seed, a second recipe, other scales."""
    source = random.Random(0)
    records = []
    for model, level in (("mini_llama", 0.8), ("mini_llama_random", 0.3)):
        for method in ("none", "full", "wegeft", "lora", "dora"):
            for seed in (42, 43, 44):
                if (method, seed) == ("dora", 44):
                    continue
                values = {subset: round(level + source.uniform(-0.05, 0.05), 3) for subset in SUBSETS}
                status = "diverged" if (model, method, seed) == ("mini_llama", "full", 43) else "finished"
                dirty = (method, seed) == ("wegeft", 42)
                trainable = {"none": 0, "full": 1_000_000}.get(method, 4096)
                records.append(make_record(make_config(method, seed, model), values, status, dirty, trainable))
    records.append(make_record(make_config("lora", 42, learning_rate=1e-4)))
    records.append(make_record(make_config("lora", 42, "llama3_8b", "paper", "v5")))
    records.append(make_record(make_config("lora", 42, "llama3_8b", "paper", "v3")))
    records.append(make_record(make_config("lora", 42, "tiny|model", "small", "v5")))
    return records


def write_all(records: list[dict[str, Any]], folder: Path) -> Path:
    for record in records:
        write_record(record, folder)
    folder.mkdir(exist_ok=True)
    return folder
