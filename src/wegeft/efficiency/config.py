"""Keys of ``mode=efficiency``.

Does not: import torch, or build anything.
"""

from typing import Any, Self

from pydantic import Field, model_validator

from wegeft.schema import Strict


class Contestant(Strict):
    """A way of adapting the backbone.

    Attributes:
        overrides: what the command line of its run would say besides the experiment, e.g. ``method=lora method.r=16``.
        method: a method's node given whole, for one that is in no group; instead of ``overrides``.
    """

    overrides: tuple[str, ...] = ()
    method: dict[str, Any] | None = None


class EfficiencyConfig(Strict):
    """What is timed and how.

    Attributes:
        layers: keep so many layers of the architecture; None keeps all.
        tokens: positions of one batch: of one sequence, or of as many images as make them up.
        rounds: timed rounds after one that warms up; every round runs every contestant once, in a new order.
        floor: the contestant that ratios of time refer to.
        baseline: the other one that all ratios refer to.
        only: contestants to time besides these two and ``compiled``; None times all.
        contestants: by the names that the table prints.
        compiled: names of contestants that are timed a second time with ``training.compile``, beside themselves.
        folder: where the report goes.
    """

    layers: int | None = Field(ge=1)
    tokens: int = Field(ge=2)
    rounds: int = Field(ge=1)
    floor: str
    baseline: str
    only: tuple[str, ...] | None
    contestants: dict[str, Contestant]
    compiled: tuple[str, ...] = ()
    folder: str

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        for key, names in (
            ("floor", (self.floor,)),
            ("baseline", (self.baseline,)),
            ("only", self.only or ()),
            ("compiled", self.compiled),
        ):
            for name in names:
                if name not in self.contestants:
                    raise ValueError(f"efficiency.{key} names {name}, which is none of {', '.join(self.contestants)}")
        return self

    def chosen(self) -> dict[str, Contestant]:
        """Who is timed, in the order of the configuration."""
        named = {self.floor, self.baseline, *self.compiled}
        wanted = set(self.contestants if self.only is None else self.only) | named
        return {name: contestant for name, contestant in self.contestants.items() if name in wanted}
