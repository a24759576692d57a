"""Where the curves of a run go while it runs, besides its record: nowhere, or Weights & Biases.

Does not: keep the curves (the record does).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from wegeft.config import LoggerConfig

Log = Callable[[int, Mapping[str, float]], None]
"""``log(step, values)``: the values of one optimiser step, by name."""


def silent(step: int, values: Mapping[str, float]) -> None:
    """Log nothing; the record keeps the curve all the same."""
    del step, values


@contextmanager
def open_logger(config: LoggerConfig, run_id: str, settings: Mapping[str, Any], folder: str) -> Iterator[Log]:
    """A function that logs the values of a step.

    Args:
        config: which logger.
        run_id: what the run is called there.
        settings: the resolved config, shown beside the curves.
        folder: where an offline logger writes.
    """
    if config.name == "none":
        yield silent
        return
    import wandb  # slow to import, and only wanted here

    settings = dict(settings)
    with wandb.init(project=config.project, name=run_id, config=settings, dir=folder, mode=config.mode) as session:
        yield lambda step, values: session.log(dict(values), step=step)
