"""Validation rows from the end of training sets: a data source around another one, whose test rows it never touches.

The official language code chooses its hyper-parameters this way: on the last tenth of BoolQ's training rows for
commonsense, of GSM8K's for arithmetic, each trained on the rows before.

Does not: shuffle, or draw.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from wegeft.errors import UserError
from wegeft.schema import Strict, load_target
from wegeft.tasks.sources import Row, Source, Split


class HeldOutConfig(Strict):
    """What is held out; one of ``share`` and ``rows`` is None.

    Attributes:
        source: open group of the source with the training rows.
        share: held out of every training subset, rounded down to whole rows.
        rows: number of rows held out of every training subset.
    """

    source: dict[str, Any]
    share: float | None = Field(gt=0, lt=1)
    rows: int | None = Field(ge=1)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.share is None) == (self.rows is None):
            raise ValueError("tune.held_out needs one of share and rows")
        load_target(self.source, "tune.held_out.source")
        return self


class HeldOut(Source):
    """The training rows of another source: the last ones are its test rows, the others its training rows."""

    Config: ClassVar[type[HeldOutConfig]] = HeldOutConfig

    def __init__(self, config: HeldOutConfig) -> None:
        self.config = config
        target, inner = load_target(config.source, "tune.held_out.source")
        self._source: Source = target(inner)

    def rows(self, subset: str, split: Split) -> Sequence[Row]:
        """See :meth:`Source.rows`; UserError if nothing or everything would be held out."""
        rows = self._source.rows(subset, "train")
        return rows[self._part(subset, split, len(rows))]

    def row_numbers(self, subset: str, split: Split) -> Sequence[int]:
        """See :meth:`Source.row_numbers`; of the training file, for either split."""
        numbers = self._source.row_numbers(subset, "train")
        return numbers[self._part(subset, split, len(numbers))]

    def left_out(self, subset: str, split: Split) -> int:
        """See :meth:`Source.left_out`; of the training file, for either split."""
        del split
        return self._source.left_out(subset, "train")

    def file_split(self, split: Split) -> Split:
        """See :meth:`Source.file_split`: all rows stand in the training file."""
        del split
        return "train"

    def check(self, subset: str, split: Split) -> None:
        """See :meth:`Source.check`."""
        del split
        self._source.check(subset, "train")

    def expected(self, subset: str, split: Split) -> int | None:
        """See :meth:`Source.expected`; the share of the published training rows."""
        return self._share(subset, split, self._source.expected(subset, "train"))

    def expected_drawn(self, subset: str, split: Split) -> int | None:
        """See :meth:`Source.expected_drawn`."""
        return self._share(subset, split, self._source.expected_drawn(subset, "train"))

    def chance(self, subset: str) -> float | None:
        """See :meth:`Source.chance`; the same as on the test rows."""
        return self._source.chance(subset)

    def listed(self, row: Row) -> tuple[str, ...]:
        """See :meth:`Source.listed`."""
        return self._source.listed(row)

    def _share(self, subset: str, split: Split, total: int | None) -> int | None:
        return None if total is None else len(range(total)[self._part(subset, split, total)])

    def _part(self, subset: str, split: Split, total: int) -> slice:
        """Which of ``total`` training rows belong to ``split``."""
        held_out = self.config.rows if self.config.share is None else int(self.config.share * total)
        assert held_out is not None
        if not 0 < held_out < total:
            raise UserError(
                f"tune.held_out takes {held_out} of the {total} training rows of {subset}; it must leave some."
            )
        return slice(total - held_out) if split == "train" else slice(total - held_out, None)
