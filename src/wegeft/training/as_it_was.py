"""A model tried out without a trace.

Does not: protect parameters, which a pass leaves alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def as_it_was(model: nn.Module) -> Iterator[None]:
    """Afterwards, buffers, mode and random generators are what they were."""
    is_training = model.training
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    devices = {buffer.device for buffer in (*model.parameters(), *model.buffers()) if buffer.is_cuda}
    with torch.random.fork_rng(devices):
        yield
    with torch.no_grad():
        for buffer, value in buffers:
            buffer.copy_(value)
    model.train(is_training)
