"""The mini world as a data source that a task can name in YAML.

Does not: generate anything (``wegeft.tasks.mini_world`` does); a missing subset is refused here.
"""

from collections.abc import Sequence
from functools import cache
from typing import Literal

from pydantic import Field

from wegeft.errors import UserError
from wegeft.tasks.generated import GeneratedConfig, GeneratedSource
from wegeft.tasks.mini_world import MiniWorldSource, Split, commonsense
from wegeft.tasks.sources import Row, listed_answers

Family = Literal["commonsense", "arithmetic"]


class MiniWorldConfig(GeneratedConfig):
    """Which part of the mini world, and how much of it.

    Attributes:
        family: the kind of questions.
        world_seed: the world; the shipped mini backbones know the facts of world 0 and of no other.
    """

    family: Family
    world_seed: int = Field(ge=0)


class MiniWorld(GeneratedSource):
    """Generated rows in the schema of the real files."""

    Config = MiniWorldConfig

    def __init__(self, config: MiniWorldConfig) -> None:
        self.config: MiniWorldConfig = config

    def chance(self, subset: str) -> float | None:
        """See :meth:`Source.chance`."""
        return commonsense.chance(subset) if self.config.family == "commonsense" else None

    def listed(self, row: Row) -> tuple[str, ...]:
        """See :meth:`Source.listed`."""
        return listed_answers(row["instruction"])

    def all_rows(self, subset: str, split: Split) -> Sequence[Row]:
        """See :meth:`GeneratedSource.all_rows`."""
        world = _world(self.config.family, self.config.world_seed)
        if subset not in world.subsets:
            raise UserError(
                f"task.{split}_subsets: the mini world's {self.config.family} has no {subset}; it has "
                f"{', '.join(world.subsets)}."
            )
        return world.rows(subset, split)


@cache
def _world(family: Family, seed: int) -> MiniWorldSource:
    return MiniWorldSource(family, seed)
