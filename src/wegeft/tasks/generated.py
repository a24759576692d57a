"""What every generated data source shares: all rows come from a pure function, and a config may draw a share of them.

Does not: generate anything; subclasses say what all the rows of a subset are.
"""

from abc import abstractmethod
from collections.abc import Sequence

from pydantic import Field

from wegeft.schema import Strict
from wegeft.tasks.sources import Row, Source, Split, draw


class GeneratedConfig(Strict):
    """How much of what is generated is used.

    Attributes:
        train_rows: rows per training subset, drawn without replacement with ``sample_seed``; None is all.
        test_rows: as ``train_rows``.
        sample_seed: seed of both draws.
    """

    train_rows: int | None = Field(ge=1)
    test_rows: int | None = Field(ge=1)
    sample_seed: int = Field(ge=0)


class GeneratedSource(Source):
    """Rows of a generator, about which nothing is published."""

    config: GeneratedConfig

    @abstractmethod
    def all_rows(self, subset: str, split: Split) -> Sequence[Row]:
        """Every row of one subset and split; UserError for a subset that there is not."""

    def rows(self, subset: str, split: Split) -> Sequence[Row]:
        """See :meth:`Source.rows`; UserError for a subset that there is not."""
        rows = self.all_rows(subset, split)
        return [rows[number] for number in self.row_numbers(subset, split)]

    def row_numbers(self, subset: str, split: Split) -> Sequence[int]:
        """See :meth:`Source.row_numbers`."""
        wanted = self.config.train_rows if split == "train" else self.config.test_rows
        return draw(len(self.all_rows(subset, split)), wanted, self.config.sample_seed)

    def check(self, subset: str, split: Split) -> None:
        """See :meth:`Source.check`."""
        self.all_rows(subset, split)

    def expected(self, subset: str, split: Split) -> int | None:
        """See :meth:`Source.expected`; nothing is published about generated rows."""
        del subset, split
        return None

    def expected_drawn(self, subset: str, split: Split) -> int | None:
        """See :meth:`Source.expected_drawn`; generating the rows is as fast as knowing their number."""
        return len(self.row_numbers(subset, split))
