"""``training.compile``: torch.compile of the repeated blocks of a network, one by one.

All blocks have the same code, so one compilation serves them all, and what stands around them (embeddings, the choice
of label positions) may do what compilers dislike. Only training steps are compiled: generation runs as it is written.

Does not: compile methods apart from the blocks that hold them, or choose a backend.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from wegeft.errors import UserError


def repeated_blocks(model: nn.Module) -> list[nn.Module]:
    """The largest list of modules of one class in ``model``: its decoder layers, its transformer blocks.

    Raises:
        UserError: there is none.
    """
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList | nn.Sequential)]
    same = [list(found) for found in lists if len({type(child) for child in found}) == 1]
    if not same:
        raise UserError("training.compile=true needs a backbone of repeated blocks, and this one has none.")
    return max(same, key=lambda blocks: sum(p.numel() for block in blocks for p in block.parameters()))


@contextmanager
def compiled_blocks(model: nn.Module, backend: str = "inductor") -> Iterator[None]:
    """Within, the blocks of ``model`` run compiled, for any length of sequence."""
    blocks = repeated_blocks(model)
    for block in blocks:
        # An attribute of the instance stands in front of the method of the class, and goes away again without a trace.
        block.forward = torch.compile(block.forward, dynamic=True, backend=backend)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward
