"""The runs of a sweep or a table: which exist, which are missing, what each costs.

Does not: print, submit or start anything.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wegeft.compose import Composer, split
from wegeft.config import RunConfig
from wegeft.planning.costs import Costs
from wegeft.planning.estimate import Estimate, Estimator
from wegeft.planning.measured import observations, step_recipe
from wegeft.planning.tables import runs_of_table
from wegeft.records.identity import run_id
from wegeft.records.store import read_records, record_path

_NOT_IN_COMMANDS = ("mode", "table", "plan.hardware")
_SWITCHES = ("-m", "--multirun")


@dataclass(frozen=True)
class PlannedRun:
    """One run of a plan.

    Attributes:
        run_id: its identity.
        words: what is typed after ``python run.py``.
        config: the checked configuration.
        exists: whether it has its record, and is not to be made again (``force``).
        estimate: what it costs.
    """

    run_id: str
    words: tuple[str, ...]
    config: RunConfig
    exists: bool
    estimate: Estimate

    @property
    def command(self) -> str:
        """The line for a shell that makes it."""
        return shlex.join(["python", "run.py", *self.words])


def planned_runs(words: Sequence[str], costs: Costs | None = None) -> list[PlannedRun]:
    """Every run that ``words`` describe, each once, in the order of the sweep.

    Args:
        words: as typed after ``python run.py -m``; ``table=NAME`` stands for all runs of a table.
        costs: where costs are looked up; the user's cache by default.

    Raises:
        UserError: a table, a key or a value that is refused. HydraException: a word that Hydra cannot read.
    """
    composer = Composer()
    hardware = [word for word in words if word.startswith("plan.hardware=")]
    planner = Planner(costs)
    runs = [planner.planned(composer.checked([*run, *hardware]), run) for run in _runs(words)]
    return list({run.run_id: run for run in reversed(runs)}.values())[::-1]


class Planner:
    """Plans runs; what the records of a folder tell is read once."""

    def __init__(self, costs: Costs | None = None) -> None:
        self._costs = costs or Costs()
        self._estimators: dict[tuple[str, str], Estimator] = {}

    def planned(self, config: RunConfig, words: Sequence[str]) -> PlannedRun:
        """The plan of one run; ``words`` are what its command says."""
        place = (config.records_dir, config.plan.hardware)
        if place not in self._estimators:
            seen = observations(read_records(Path(config.records_dir), curves=False)[0])
            self._estimators[place] = Estimator(seen, self._costs, config.plan.hardware)
        plain = config.plain()
        identity = run_id(plain)
        exists = record_path(identity, Path(config.records_dir)).is_file() and not config.force
        estimate = self._estimators[place].estimate(config, step_recipe(plain))
        return PlannedRun(identity, tuple(words), config, exists, estimate)


def _runs(words: Sequence[str]) -> list[tuple[str, ...]]:
    """The words of every run, without those that only ask for the plan."""
    table = _value(words, "table")
    kept = [word for word in words if word not in _SWITCHES and word.partition("=")[0] not in _NOT_IN_COMMANDS]
    if table is None:
        return [tuple(run) for run in split(kept)]
    return runs_of_table(table, kept)


def _value(words: Sequence[str], key: str) -> str | None:
    return next((word.partition("=")[2] for word in reversed(words) if word.startswith(f"{key}=")), None)
