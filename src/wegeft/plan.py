"""What a run would be, without running it: counts from the architecture alone, steps, and whether it is recorded.

Does not: load weights or data, or use a GPU.
"""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from wegeft import models
from wegeft.config import RunConfig
from wegeft.methods import build_method
from wegeft.records.assemble import parameters
from wegeft.records.identity import run_id
from wegeft.records.store import record_path
from wegeft.tasks import build_task
from wegeft.training.schedule import total_steps, warmup_steps


def plan(config: RunConfig) -> None:
    """Print the plan of one run."""
    table = Table(show_header=False)
    for name, value in describe(config).items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) else str(value))
    Console().print(table)


def describe(config: RunConfig) -> dict[str, Any]:
    """The plan as names and values, in the order they are shown.

    Raises:
        UserError: the method does not fit the backbone.
    """
    backbone = models.skeleton(config.model)
    backbone_parameters = models.count_parameters(backbone)
    method = build_method(config.method)
    method.attach(backbone, config.model.head_modules)
    counts = parameters(method, backbone_parameters)
    examples = build_task(config.task).expected_train_examples()
    identity = run_id(config.plain())
    known = record_path(identity, Path(config.records_dir)).is_file()
    return {
        "run": identity,
        "method": config.method["name"],
        "model": config.model.name,
        "task": config.task["name"],
        "scale / protocol / recipe": f"{config.scale.name} / {config.protocol.name} / {config.training.recipe}",
        "trainable parameters": counts["trainable"],
        "trained head parameters": counts["head"],
        "backbone parameters": counts["backbone"],
        "% of backbone": f"{counts['percent']['backbone']:.4f}",
        "% of backbone + adapter": f"{counts['percent']['backbone_plus_adapter']:.4f}",
        **_steps(config, examples),
        "record": "exists" if known else "missing",
    }


def _steps(config: RunConfig, examples: int | None) -> dict[str, Any]:
    if examples is None and config.training.max_steps is None:
        return {"training examples": "unknown until the data is there"}
    steps = total_steps(config.training, examples or 0)
    return {
        "training examples": "unknown until the data is there" if examples is None else examples,
        "optimiser steps": steps,
        "warm-up steps": warmup_steps(config.training, steps),
        "batch size": config.training.batch_size,
        "learning rate": config.training.learning_rate,
    }
