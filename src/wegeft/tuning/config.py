"""Keys of ``mode=tune``, and what a configuration says about where its hyper-parameters come from.

Does not: search, or read files.
"""

import math
from typing import Any, Self

from pydantic import Field, model_validator

from wegeft.schema import Strict

Value = bool | int | float | str | None
"""What a hyper-parameter can be."""


class Searched(Strict):
    """One hyper-parameter and what is tried of it: a list, or a range to draw from.

    Attributes:
        key: its dotted key.
        values: the list; None for a range.
        low, high: ends of the range; None for a list.
        log: draw the logarithms of the range evenly.
    """

    key: str
    values: tuple[Value, ...] | None = Field(default=None, min_length=1)
    low: float | None = None
    high: float | None = None
    log: bool = False

    @model_validator(mode="after")
    def _either(self) -> Self:
        if self.values is not None:
            if (self.low, self.high, self.log) != (None, None, False):
                raise ValueError(f"{self.key} has values as well as a range")
        elif self.low is None or self.high is None or self.low >= self.high:
            raise ValueError(f"{self.key} needs values, or low and a higher high")
        elif self.log and self.low <= 0:
            raise ValueError(f"the logarithmic range of {self.key} begins at {self.low}, not above 0")
        return self

    @property
    def first(self) -> Value:
        """One value that can be tried."""
        return self.low if self.values is None else self.values[0]


class Published(Strict):
    """Values that a paper, its code or its checkpoints state.

    Attributes:
        when: dotted key of the configuration and the value that it has in the runs concerned.
        values: dotted key and published value.
    """

    when: dict[str, Value]
    values: dict[str, Value] = Field(min_length=1)


class TuneConfig(Strict):
    """A search over hyper-parameters, the same for every method.

    Attributes:
        validation: overrides that make a run score validation rows; None where the task states none.
        validations: the same by scale, for ``validation`` to draw on; nothing reads it directly.
        held_out: the data source that such a run has in the place of the task's own; None keeps that.
        rates: learning rates by scale, for ``space`` to draw on; nothing reads them directly.
        space: what is searched; of lists alone, all combinations are tried.
        trials: how many settings are tried; None is every combination of the lists.
        seed: seed of the order or of the draws.
        seeds: every setting is run with each of them, and its score is the mean.
        published: values of ``space`` that are published.
        folder: where the files of finished searches are.
    """

    validation: tuple[str, ...] | None
    validations: dict[str, tuple[str, ...] | None]
    held_out: dict[str, Any] | None
    rates: dict[str, tuple[float, ...]]
    space: tuple[Searched, ...] = Field(min_length=1)
    trials: int | None = Field(ge=1)
    seed: int = Field(ge=0, lt=2**32)
    seeds: tuple[int, ...] = Field(min_length=1)
    published: tuple[Published, ...]
    folder: str

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.grid is None and self.trials is None:
            raise ValueError("tune.space has a range, so that tune.trials must be given")
        return self

    @property
    def validation_words(self) -> tuple[str, ...] | None:
        """Overrides of a run that scores validation rows; None where there are none."""
        if self.validation is None:
            return None
        return (*(() if self.held_out is None else ("task.source=${tune.held_out}",)), *self.validation)

    @property
    def grid(self) -> dict[str, tuple[Value, ...]] | None:
        """The lists of ``space`` by key; None if it has a range."""
        lists = {one.key: one.values for one in self.space if one.values is not None}
        return lists if len(lists) == len(self.space) else None

    @property
    def budget(self) -> int:
        """Settings tried, which depend on nothing but these keys."""
        combinations = None if self.grid is None else math.prod(len(choices) for choices in self.grid.values())
        return min(number for number in (self.trials, combinations) if number is not None)


class Tuned(Strict):
    """Values that a run has from a finished search.

    Attributes:
        file: the file of the search.
        sha256: of its bytes.
        values: dotted key and value.
    """

    file: str
    sha256: str
    values: dict[str, Value]
