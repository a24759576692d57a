"""Runs as a cluster sees them: overrides to type, an id to name the job by, a folder to log to.

Does not: submit them, or load anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig
from omegaconf.errors import InterpolationKeyError

from wegeft.cli import dead_end, to_run_config
from wegeft.cluster.start import Start
from wegeft.compose import Composer
from wegeft.config import RunConfig
from wegeft.errors import UserError
from wegeft.records.identity import run_id
from wegeft.records.store import record_path


@dataclass(frozen=True)
class Run:
    """One run to submit: what is typed after ``python run.py``, and what follows from it."""

    overrides: tuple[str, ...]
    run_id: str
    folder: Path
    record: Path
    config: RunConfig

    @property
    def force(self) -> bool:
        """Whether it is to be made again if it has its record."""
        return self.config.force

    @property
    def done(self) -> bool:
        """Whether it has its record and was not told to be run again."""
        return self.record.is_file() and not self.force

    @property
    def written(self) -> int | None:
        """When its record was written, in nanoseconds; None if it has none."""
        return self.record.stat().st_mtime_ns if self.record.is_file() else None

    @property
    def start(self) -> Start:
        """What its job does."""
        return Start(self.overrides, self.run_id, str(self.folder))


def composed(overrides: Sequence[str]) -> Run:
    """The run of ``python run.py OVERRIDES``.

    Raises:
        UserError: the overrides do not make a valid configuration.
    """
    return run_of(Composer().checked(overrides), overrides)


def checked(configuration: DictConfig, overrides: Sequence[str]) -> Run:
    """The run of a composed ``configuration``; `UserError` as :func:`composed`."""
    try:
        config = to_run_config(configuration)
    except InterpolationKeyError as error:
        raise UserError(dead_end(error, configuration)) from error
    return run_of(config, overrides)


def run_of(config: RunConfig, overrides: Sequence[str]) -> Run:
    """The run of a checked ``config``, which ``python run.py OVERRIDES`` has."""
    identity = run_id(config.plain())
    return Run(
        overrides=tuple(overrides),
        run_id=identity,
        folder=Path(config.output_dir) / identity,
        record=record_path(identity, Path(config.records_dir)),
        config=config,
    )
