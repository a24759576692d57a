"""The mini world as a data source that a task can name in YAML.

Does not: generate anything (``wegeft.tasks.mini_world`` does); a missing subset is refused here.
"""

from collections.abc import Sequence
from functools import cache
from typing import Literal

from pydantic import Field

from wegeft.errors import UserError
from wegeft.schema import Strict
from wegeft.tasks.mini_world import MiniWorldSource, Split, commonsense
from wegeft.tasks.sources import Row, Source, draw

Family = Literal["commonsense", "arithmetic"]


class MiniWorldConfig(Strict):
    """Which part of the mini world, and how much of it.

    Attributes:
        family: the kind of questions.
        world_seed: the world; the shipped mini backbones know the facts of world 0 and of no other.
        train_rows: rows per training subset, drawn without replacement with ``sample_seed``; None is all.
        test_rows: as ``train_rows``.
        sample_seed: seed of both draws.
    """

    family: Family
    world_seed: int = Field(ge=0)
    train_rows: int | None = Field(ge=1)
    test_rows: int | None = Field(ge=1)
    sample_seed: int = Field(ge=0)


class MiniWorld(Source):
    """Generated rows in the schema of the real files."""

    Config = MiniWorldConfig

    def __init__(self, config: MiniWorldConfig) -> None:
        self.config = config

    def rows(self, subset: str, split: Split) -> Sequence[Row]:
        """See :meth:`Source.rows`; UserError for a subset that the family does not have."""
        rows = self._all_rows(subset, split)
        return [rows[number] for number in self.row_numbers(subset, split)]

    def row_numbers(self, subset: str, split: Split) -> Sequence[int]:
        """See :meth:`Source.row_numbers`."""
        wanted = self.config.train_rows if split == "train" else self.config.test_rows
        return draw(len(self._all_rows(subset, split)), wanted, self.config.sample_seed)

    def check(self, subset: str, split: Split) -> None:
        """See :meth:`Source.check`."""
        self._all_rows(subset, split)

    def expected(self, subset: str, split: Split) -> int | None:
        """See :meth:`Source.expected`; nothing is published about a generated world."""
        del subset, split
        return None

    def expected_drawn(self, subset: str, split: Split) -> int | None:
        """See :meth:`Source.expected_drawn`; generating the rows is as fast as knowing their number."""
        return len(self.row_numbers(subset, split))

    def chance(self, subset: str) -> float | None:
        """See :meth:`Source.chance`."""
        return commonsense.chance(subset) if self.config.family == "commonsense" else None

    def _all_rows(self, subset: str, split: Split) -> Sequence[Row]:
        world = _world(self.config.family, self.config.world_seed)
        if subset not in world.subsets:
            raise UserError(
                f"the mini world's {self.config.family} has no {subset}; it has {', '.join(world.subsets)}."
            )
        return world.rows(subset, split)


@cache
def _world(family: Family, seed: int) -> MiniWorldSource:
    return MiniWorldSource(family, seed)
