"""Work: what a computation asks of a machine, independent of the machine.

Does not: know time; ``hardware`` turns work into seconds.
"""

from dataclasses import astuple, dataclass


@dataclass(frozen=True)
class Work:
    """Amounts of work; sums and multiples of work are work.

    Attributes:
        flops: floating-point operations of matrix products and attention.
        product_bytes: bytes that these read and write.
        bytes: bytes that all other kernels read and write.
        kernels: how many kernels are started.
    """

    flops: float = 0.0
    product_bytes: float = 0.0
    bytes: float = 0.0
    kernels: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __mul__(self, times: float) -> "Work":
        return Work(*(times * part for part in astuple(self)))


@dataclass(frozen=True)
class Shape:
    """Sizes of one forward and backward: ``sequences`` of ``length`` positions, ``labels`` of which are predicted."""

    sequences: int
    length: int
    labels: int


@dataclass(frozen=True)
class Traced:
    """What one model with one method asks for, at one :class:`Shape`.

    Attributes:
        forward: work of the forward pass.
        backward: work of the backward pass.
        optimiser: work of clipping and of the optimiser.
        saved: bytes that forward keeps for backward.
        saved_of_a_block: the same of one block of the backbone.
        saved_by_checkpoints: bytes kept where blocks are computed again in backward.
        weights: bytes of the parameters that are not trained.
    """

    forward: Work
    backward: Work
    optimiser: Work
    saved: float
    saved_of_a_block: float
    saved_by_checkpoints: float
    weights: int


@dataclass(frozen=True)
class Architecture:
    """What is counted of one model with one method, without regard to the data.

    Attributes:
        counts: as a record has them under ``parameters``.
        mergeable: whether evaluation runs the plain backbone.
        trained: bytes of the trained parameters, as the adapter's file has them; their gradients are as large.
        masters: bytes of what the optimiser works on (``wegeft.training.masters``); either moment is as large.
        copies: bytes of the masters that are no parameters themselves; their gradients are as large.
    """

    counts: dict[str, object]
    mergeable: bool
    trained: int
    masters: int
    copies: int
