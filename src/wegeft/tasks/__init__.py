"""What is trained on and what is asked: tasks, their data sources, and the way from text to token ids.

A task is one YAML file in ``configs/task``; only a new data format or a new way of scoring needs Python. This module
imports no torch, so that reading it costs nothing.
"""

from collections.abc import Mapping
from typing import Any

from wegeft.errors import UserError
from wegeft.schema import TARGET_KEY, load_target
from wegeft.tasks.base import DataSummary, Example, Task

__all__ = ["DataSummary", "Example", "Task", "build_task"]


def build_task(node: Mapping[str, Any]) -> Task:
    """The task that the ``task`` node of a configuration describes; no data is read yet.

    Args:
        node: the resolved node; ``_target_`` is the import path of a `Task`, the rest is checked by its ``Config``.

    Raises:
        UserError: an unknown class, or a value that its ``Config`` refuses.
    """
    cls, config = load_target(node, "task")
    if not issubclass(cls, Task):
        raise UserError(f"task.{TARGET_KEY}={node[TARGET_KEY]} is not a subclass of wegeft.tasks.base.Task.")
    return cls(config)  # type: ignore[no-any-return]  # issubclass narrows `Any` to `type[Any]`
