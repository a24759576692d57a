"""Batches on their way to the device.

Does not: read ahead. Texts are collated in less than 2 % of a step, and while a GPU still computes the micro-batch
before; images are read ahead by their objective (`Objective.expect`).
"""

from collections.abc import Mapping

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """``tensor`` on ``device``; the same tensor where it is there already.

    A GPU copies from page-locked memory while the host goes on; from other memory the host would wait for the copy and
    for all that was queued before it.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def batch_to_device(batch: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Every tensor of ``batch`` on ``device``."""
    return {name: to_device(tensor, device) for name, tensor in batch.items()}
