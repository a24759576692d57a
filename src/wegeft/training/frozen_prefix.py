"""The part of a network that training leaves alone, found by running it, and how to start behind it.

A prefix ends where a module's input depends on nothing that is trained and on no random numbers, and is the same in
training and in evaluation; autograd and the random generators say so themselves, so that no method need be known.
Later passes run the network's own code on one blank image with the frozen blocks taken out, and put the kept output of
the prefix in the place of what arrives at that module.

Does not: look into a block (one that holds anything trained is run whole), or decide what is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from wegeft.training.as_it_was import as_it_was


@dataclass(frozen=True)
class FrozenPrefix:
    """Everything before one module.

    Attributes:
        name: of the first module behind it.
        module: that module.
        blocks: how many blocks lie before it.
    """

    name: str
    module: nn.Module
    blocks: int

    @torch.inference_mode()
    def output(self, model: nn.Module, images_BCHW: Tensor) -> Tensor:
        """What arrives at :attr:`module`, (B, ...); nothing behind it is computed."""

        def stop(_module: nn.Module, arguments: tuple[Any, ...]) -> None:
            raise _Reached(arguments[0])

        hook = self.module.register_forward_pre_hook(stop)
        try:
            model(images_BCHW)
        except _Reached as reached:
            return reached.input_BX
        finally:
            hook.remove()
        raise RuntimeError(f"{self.name} was not reached")

    def resume(self, model: Any, blank_1CHW: Tensor, kept_BX: Tensor) -> Tensor:
        """The model's output for images whose :meth:`output` is ``kept_BX``.

        Args:
            model: the network.
            blank_1CHW: any one image, for the code that runs before the blocks.
            kept_BX: on the model's device.
        """

        def put(_module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
            return (kept_BX, *arguments[1:])

        hook = self.module.register_forward_pre_hook(put)
        blocks = model.blocks
        model.blocks = blocks[self.blocks :]
        try:
            result: Tensor = model(blank_1CHW)
            return result
        finally:
            model.blocks = blocks
            hook.remove()


class _Reached(Exception):
    """No error: it ends a pass that has got what it wanted."""

    def __init__(self, input_BX: Tensor) -> None:
        self.input_BX = input_BX


def find_prefix(model: nn.Module, images_BCHW: Tensor) -> FrozenPrefix | None:
    """The longest frozen prefix of at least one block, or None.

    Parameters, buffers, modes and random generators are left as they were.

    Args:
        model: an adapted network with a list of ``blocks``.
        images_BCHW: two or more images as the network takes them, to try it on.
    """
    blocks = getattr(model, "blocks", None)
    if not isinstance(blocks, nn.Sequential | nn.ModuleList):
        return None
    with as_it_was(model):
        places = _settled(model, images_BCHW)
        found = next((place for place in reversed(places) if _resumes(place, model.eval(), images_BCHW)), None)
    return found


def _settled(model: nn.Module, images_BCHW: Tensor) -> list[FrozenPrefix]:
    """The places behind the first block up to which nothing is trained or random, in the order of the pass."""
    training, evaluation = _arrivals(model.train(), images_BCHW), _arrivals(model.eval(), images_BCHW)
    places: list[FrozenPrefix] = []
    entered = 0
    for name, arrival in training.items():
        other = evaluation.get(name)
        if not arrival.is_settled or other is None or not torch.equal(arrival.input_BX, other.input_BX):
            break
        if entered:
            places.append(FrozenPrefix(name, model.get_submodule(name), entered))
        entered += name.startswith("blocks.")
    return places


@dataclass(frozen=True)
class _Arrival:
    """What came to a module: its first argument, and whether that is free of trained parameters and random numbers."""

    input_BX: Tensor
    is_settled: bool


def _arrivals(model: nn.Module, images_BCHW: Tensor) -> dict[str, _Arrival]:
    """What came to every block and to every direct part of ``model``, in the order of the pass."""
    parts = {name: child for name, child in model.named_children() if name != "blocks"}
    parts |= {f"blocks.{name}": block for name, block in model.get_submodule("blocks").named_children()}
    found: dict[str, _Arrival] = {}
    before = _random_state(images_BCHW.device)

    def listen(name: str) -> Any:
        def hook(_module: nn.Module, arguments: tuple[Any, ...]) -> None:
            if arguments and isinstance(arguments[0], Tensor):
                is_fixed = torch.equal(_random_state(images_BCHW.device), before)
                input_BX = arguments[0]
                found.setdefault(name, _Arrival(input_BX.detach(), is_fixed and not input_BX.requires_grad))

        return hook

    hooks = [module.register_forward_pre_hook(listen(name)) for name, module in parts.items()]
    try:
        model(images_BCHW)
    finally:
        for hook in hooks:
            hook.remove()
    return found


@torch.no_grad()
def _resumes(place: FrozenPrefix, model: nn.Module, images_BCHW: Tensor) -> bool:
    """Whether a pass from ``place`` gives the bits of a whole one: nothing else reaches behind it."""
    kept_BX = place.output(model, images_BCHW)
    blank_1CHW = torch.zeros_like(images_BCHW[:1])
    return torch.equal(place.resume(model, blank_1CHW, kept_BX), model(images_BCHW))


def _random_state(device: torch.device) -> Tensor:
    """The state of the generators that a pass on ``device`` draws from."""
    if device.type != "cuda":
        return torch.get_rng_state()
    return torch.cat([torch.get_rng_state(), torch.cuda.get_rng_state(device)])
