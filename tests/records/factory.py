"""Made-up records that follow the schema, for the tests of whatever reads records."""

import copy
import hashlib
from collections.abc import Mapping
from typing import Any

from wegeft.records import run_id

SUBSETS = (
    "boolq",
    "piqa",
    "social_i_qa",
    "hellaswag",
    "winogrande",
    "ARC-Easy",
    "ARC-Challenge",
    "openbookqa",
)


def make_config(
    method: str = "lora",
    seed: int = 42,
    model: str = "mini_llama",
    scale: str = "mini",
    protocol: str = "clean",
    task: str = "commonsense",
    **training: Any,
) -> dict[str, Any]:
    return {
        "mode": "run",
        "seed": seed,
        "force": False,
        "output_dir": "outputs",
        "records_dir": "results/records",
        "data": {"root": None},
        "scale": {"name": scale},
        "model": {"name": model, "source": "packaged", "weights": "pretrained"},
        "task": {
            "name": task,
            "source": {"rows": 500},
            "sources": {"mini": {"rows": 500}},
            "by_scale": {"mini": {"n": 1}},
        },
        "method": {
            "name": method,
            "r": 8,
            "ranks": {"mini": 8},
            "alphas": {"mini": 16},
            "recipes": {"v5": {"alpha": 2}},
            "learning_rates": {"mini": 2e-3, "paper": 2e-4},
        },
        "protocol": {"name": protocol, "train_on_inputs": False, "max_length": 512},
        "training": {"learning_rate": 2e-3, "batch_size": 16, "micro_batch_size": None, **training},
        "evaluation": {"batch_size": 16},
        "runtime": {"device": "auto", "threads": None},
        "logger": {"name": "none"},
    }


def make_record(
    config: Mapping[str, Any] | None = None,
    values: Mapping[str, float] | None = None,
    status: str = "finished",
    dirty: bool = False,
    trainable: int = 1000,
) -> dict[str, Any]:
    """A record of ``config`` with the given scores (fractions per subset); without scores unless finished."""
    config = make_config() if config is None else config
    values = dict.fromkeys(SUBSETS, 0.5) if values is None else values
    record = copy.deepcopy(_SKELETON)
    record |= {"config": copy.deepcopy(dict(config)), "run_id": run_id(config), "status": status}
    record["provenance"]["git"]["dirty"] = dirty
    record["parameters"] = _parameters(trainable)
    if status == "finished":
        record["evaluation"] = _evaluation(values)
    else:
        record["error"] = "The loss was not finite at step 7."
    return record


def _evaluation(values: Mapping[str, float]) -> dict[str, Any]:
    scores = {
        subset: {"metric": "accuracy", "value": value, "stderr": 0.02, "n": 500, "chance": 0.25}
        for subset, value in values.items()
    }
    return {
        "seconds": 5.0,
        "n": 500 * len(scores),
        "scores": scores,
        "mean": sum(values.values()) / len(values),
        "extractor": {"name": "answer_after_trigger", "version": 1},
        "batch_size": 16,
    }


def _parameters(trainable: int, backbone: int = 1_000_000) -> dict[str, Any]:
    denominators = {"backbone": backbone, "backbone_plus_adapter": backbone + trainable}
    percent = {name: 100 * trainable / total for name, total in denominators.items()}
    return {
        "trainable": trainable,
        "head": 0,
        "backbone": backbone,
        "denominators": denominators,
        "percent": percent,
    }


_SKELETON: dict[str, Any] = {
    "schema_version": 1,
    "run_id": "",
    "status": "finished",
    "error": None,
    "created": "2026-01-02T03:04:05Z",
    "command": ["run.py", "method=lora"],
    "config": {},
    "provenance": {
        "command": ["run.py", "method=lora"],
        "git": {"commit": "0" * 40, "dirty": False, "modified": 0, "untracked": 0},
        "lock_files": {"requirements.lock": "1" * 64},
        "packages": {"torch": {"version": "2.13.0", "file": "{environment}/torch/__init__.py"}},
        "python": "3.11.2",
        "platform": "Linux",
        "hardware": {
            "cpu": "CPU",
            "cores": 2,
            "logical_cores": 2,
            "threads": 2,
            "memory_bytes": 2**34,
            "gpus": [],
            "cuda": None,
        },
    },
    "data": {
        "hashes": {
            f"{subset}/{split}": hashlib.sha256(f"{subset}/{split}".encode()).hexdigest()
            for subset in SUBSETS
            for split in ("train", "test")
        },
        "train_examples": 4000,
        "test_examples": dict.fromkeys(SUBSETS, 500),
        "expected_rows": {f"{subset}/{split}": None for subset in SUBSETS for split in ("train", "test")},
        "remarks": {},
    },
    "prompt": {"text": "Question?", "input_ids": [1, 5, 6], "special_tokens": {"bos": "<s>", "pad": 3}},
    "parameters": {},
    "training": {
        "steps": 100,
        "epochs": 1.0,
        "tokens": 100_000,
        "label_tokens": 10_000,
        "seconds": 60.0,
        "tokens_per_second": 1666.7,
        "final_loss": 0.3,
        "loss_curve": [[1, 2.5], [100, 0.3]],
        "peak_memory_bytes": 2**30,
    },
    "evaluation": None,
    "adapter": {"sha256": "2" * 64, "bytes": 4096},
}
