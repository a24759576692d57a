"""What the optimiser works on: fp32 copies of the trained parameters that are shorter than fp32.

A bf16 number has eight bits, so a step of less than about 1/500 of it would be rounded away; the copy adds such steps
up, and the parameter is its rounding. A parameter of fp32 and more is its own master and costs nothing.

Does not: scale losses (bf16 has the range of fp32), or know the optimiser.
"""

from collections.abc import Mapping

import torch
from torch import nn

SHORTEST = 4
"""Bytes of a number that needs no copy."""


class Masters:
    """The masters of ``parameters``.

    Attributes:
        values: parameters for the optimiser and for checkpoints, by the names of those they stand for.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], in_fp32: bool) -> None:
        """Take the parameters; if not ``in_fp32`` each is its own master, whatever its dtype."""
        self._parameters = dict(parameters)
        self.values = {name: _master(one) if in_fp32 else one for name, one in parameters.items()}

    @property
    def copies(self) -> dict[str, nn.Parameter]:
        """The masters that are no parameters themselves."""
        return {name: master for name, master in self.values.items() if master is not self._parameters[name]}

    def take_gradients(self) -> None:
        """Give each master the gradient of its parameter."""
        for name, master in self.values.items():
            gradient = self._parameters[name].grad
            master.grad = None if gradient is None else gradient.to(master.dtype)  # the same tensor for its own master

    @torch.no_grad()
    def give_values(self) -> None:
        """Overwrite each parameter with its master, rounded."""
        for name, master in self.copies.items():
            self._parameters[name].copy_(master)

    def clear_gradients(self) -> None:
        """Of masters and parameters."""
        for parameter in (*self.values.values(), *self._parameters.values()):
            parameter.grad = None


def _master(parameter: nn.Parameter) -> nn.Parameter:
    return parameter if parameter.element_size() >= SHORTEST else nn.Parameter(parameter.detach().float())
