"""How the evaluation runs; none of it may change what is asked or what counts as right.

Does not: hold prompts, extraction rules or the number of new tokens (the task does), or import torch.
"""

from typing import Any, Literal

from pydantic import Field, field_validator

from wegeft.schema import Strict

Which = Literal["all", "right", "wrong", "unreadable"]
"""Which answers of a run to show; ``unreadable`` ones are those in which the rule found no answer."""

AUTO: Literal["auto"] = "auto"
CPU_MOST, GPU_USUAL = 32, 256
"""``auto`` on a CPU, which larger batches do not make faster, and on a GPU where its free memory is not looked at."""


class EvaluationConfig(Strict):
    """Sizes of the evaluation.

    Attributes:
        batch_size: prompts decoded together; ``auto`` takes as many as memory is estimated to hold.
        merge: fold the adapter into the backbone before generating.
        limit: rows per test set, from its start; None is all of them. Scores of a limited run say so by their n.
        engine: what generates text: ``hf`` this process, ``vllm`` a process of vLLM beside it.
        vllm_python: interpreter of the environment that vLLM is installed in; None is this process's own.
    """

    batch_size: int | Literal["auto"]
    merge: bool
    limit: int | None = Field(ge=1)
    engine: Literal["hf", "vllm"] = "hf"
    vllm_python: str | None = None

    @field_validator("batch_size", mode="before")
    @classmethod
    def _size(cls, value: Any) -> Any:
        if value == AUTO or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
            return value
        raise ValueError("choose auto or a whole number from 1")

    def usual_batch_size(self, on_gpu: bool) -> int:
        """The batch size, or for ``auto`` what it is where nobody looks at free memory."""
        if isinstance(self.batch_size, int):
            return self.batch_size
        return GPU_USUAL if on_gpu else CPU_MOST
