"""How the evaluation runs; none of it may change what is asked or what counts as right.

Does not: hold prompts, extraction rules or the number of new tokens (the task does), or import torch.
"""

from typing import Literal

from pydantic import Field

from wegeft.schema import Strict

Which = Literal["all", "right", "wrong", "unreadable"]
"""Which answers of a run to show; ``unreadable`` ones are those in which the rule found no answer."""


class EvaluationConfig(Strict):
    """Sizes of the evaluation.

    Attributes:
        batch_size: prompts decoded together.
        merge: fold the adapter into the backbone before generating.
        limit: rows per test set, from its start; None is all of them. Scores of a limited run say so by their n.
    """

    batch_size: int = Field(ge=1)
    merge: bool
    limit: int | None = Field(ge=1)
