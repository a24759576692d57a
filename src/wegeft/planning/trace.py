"""Counting the work of a training step by running it without numbers.

The adapted backbone runs forward, backward and optimiser on the meta device, where tensors have shapes and no storage,
and every kernel that PyTorch would start is counted. So whatever a method computes is in the count, and no method needs
a formula of its own. Backbones are stacks of equal blocks: two and three of them are run, and the rest follows by
their difference. (The first block alone can differ: nothing before it asks for a gradient.)

Does not: allocate weights, or know seconds.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from wegeft import models
from wegeft.config import ModelConfig
from wegeft.methods.base import Method
from wegeft.models.quantised import spared_bytes
from wegeft.planning.work import Shape, Traced, Work
from wegeft.training.masters import Masters


@dataclass(frozen=True)
class _Known:
    """What one kernel does with arguments of given shapes: its work, and the shape of what comes out.

    ``out`` is None where the call must be made: its result is no new tensor, or several.
    """

    flops: int
    moved: int
    is_product: bool
    out: tuple[torch.Size, tuple[int, ...], torch.dtype] | None


_known: dict[Hashable, _Known] = {}
"""By kernel and arguments. PyTorch derives shapes in Python, in up to a millisecond; blocks and methods repeat them."""


class Counter(TorchDispatchMode):
    """Counts the kernels that are started while it is on."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch has no annotations there
        self._flops = self._product_bytes = self._bytes = self._kernels = 0

    @property
    def work(self) -> Work:
        """All of it so far."""
        return Work(self._flops, self._product_bytes, self._bytes, self._kernels)

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run ``function`` and add what it reads, writes and computes."""
        kwargs = kwargs or {}
        if function.is_view:  # starts no kernel
            return function(*args, **kwargs)
        key = function, _shapes(args), _shapes(tuple(kwargs.items()))
        known = _known.get(key)
        if known is None:
            out = function(*args, **kwargs)
            _known[key] = known = _learned(function, args, kwargs, out)
        elif known.out is None:
            out = function(*args, **kwargs)
        else:
            size, stride, dtype = known.out
            out = torch.empty_strided(size, stride, dtype=dtype, device="meta")
        self._flops += known.flops
        self._product_bytes += known.moved * known.is_product
        self._bytes += known.moved * (not known.is_product)
        self._kernels += known.moved > 0
        return out


def _learned(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> _Known:
    """What a call that was made says about every other call with such arguments."""
    moved = sum(_bytes(leaf) for leaf in tree_leaves((args, kwargs, out)))
    formula = flop_registry.get(function._overloadpacket)
    flops = 0 if formula is None else formula(*args, **kwargs, out_val=out)
    returns = function._schema.returns
    is_new = len(returns) == 1 and returns[0].alias_info is None and not function._schema.is_mutable
    if not is_new or not isinstance(out, Tensor) or out.device.type != "meta":
        return _Known(flops, moved, formula is not None, None)
    return _Known(flops, moved, formula is not None, (out.shape, out.stride(), out.dtype))


def _shapes(value: Any) -> Hashable:
    """``value`` with shape, strides, type and device in the place of every tensor."""
    if isinstance(value, Tensor):
        return value.shape, value.stride(), value.dtype, value.device
    if isinstance(value, tuple | list):
        return tuple(_shapes(one) for one in value)
    return type(value), value


_SPEAKERS = (2, 3)
"""How many blocks are run, to tell what one more costs."""


def trace(config: ModelConfig, method: Method, shape: Shape, fp32_masters: bool = True) -> Traced | None:
    """The work of one training step of an attached ``method`` on the meta device.

    None of a family of backbones without ``made_up_loss``. Blocks that are computed again in backward
    (``gradient_checkpointing``) are counted once: the caller adds a forward.
    """
    backbone = method.backbone
    place = _blocks(backbone)
    if place is None or len(place[1]) < _SPEAKERS[-1] or not _alike(place[1]):
        depth, seen = 1, [_run(config, method, shape, fp32_masters)]
    else:
        depth, seen = len(place[1]), []
        for kept in _SPEAKERS:
            with _truncated(place, kept):
                seen.append(_run(config, method, shape, fp32_masters))
    if seen[0] is None or seen[-1] is None:
        return None
    last, more = seen[-1], depth - _SPEAKERS[-1] if len(seen) > 1 else 0
    step = [(b + a * -1.0) for a, b in zip(seen[0][0], last[0], strict=True)]
    forward, backward, optimiser = (one + each * more for one, each in zip(last[0], step, strict=True))
    block = last[1] - seen[0][1] if len(seen) > 1 else 0.0
    trained = sum(_bytes(parameter) for parameter in method.trainable().values())
    spared = round(spared_bytes(backbone, config))
    return Traced(
        forward=forward,
        backward=backward,
        optimiser=optimiser,
        saved=last[1] + block * more,
        saved_of_a_block=block,
        saved_by_checkpoints=max(0.0, last[1] - block * (_SPEAKERS[-1] if len(seen) > 1 else 1)) + last[2] * depth,
        weights=sum(_bytes(parameter) for parameter in backbone.parameters()) - trained - spared,
    )


def trace_forward(config: ModelConfig, backbone: nn.Module, shape: Shape) -> Work | None:
    """The work of one forward pass without gradients, as evaluation makes it."""
    place = _blocks(backbone)
    whole = place is None or not _alike(place[1])
    works: list[Work] = []
    for kept in (1, 2):
        with _truncated(None if whole else place, kept), Counter() as counter, torch.no_grad():
            if models.made_up_loss(config, backbone, shape.sequences, shape.length, shape.labels) is None:
                return None
        works.append(counter.work)
    depth = 2 if whole or place is None else len(place[1])
    one, two = works
    return two + (two + one * -1.0) * (depth - 2)


_Run = tuple[tuple[Work, Work, Work], float, float]


def _run(config: ModelConfig, method: Method, shape: Shape, fp32_masters: bool = True) -> _Run | None:
    """Work of forward, backward and optimiser; bytes saved for backward; bytes that one block hands to the next."""
    backbone = method.backbone
    own = {parameter.untyped_storage()._cdata for parameter in backbone.parameters()}
    saved: dict[int, tuple[Tensor, int]] = {}
    handed: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            saved[storage._cdata] = tensor, storage.nbytes()  # the tensor, so that its storage's number stays taken
        return tensor

    place = _blocks(backbone)
    with _hook(place[1][0] if place else backbone, lambda out: handed.append(_bytes(tree_leaves(out)[0]))):
        backbone.train()
        with Counter() as first, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = models.made_up_loss(config, backbone, shape.sequences, shape.length, shape.labels)
            extra = method.extra_loss()
        backbone.eval()
    if loss is None:
        return None
    with Counter() as second:
        (loss if extra is None else loss + extra).backward()
    parameters = {name: parameter for name, parameter in method.trainable().items() if parameter.grad is not None}
    masters = Masters(parameters, fp32_masters)
    with Counter() as third:
        nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        masters.take_gradients()
        torch.optim.AdamW(masters.values.values(), foreach=False).step()
        masters.give_values()
    backbone.zero_grad(set_to_none=True)
    kept = float(sum(size for _, size in saved.values()))
    return (first.work, second.work, third.work), kept, float(handed[0] if handed else 0)


def _bytes(tensor: Any) -> int:
    return tensor.numel() * tensor.element_size() if isinstance(tensor, Tensor) else 0


_Place = tuple[nn.Module, nn.ModuleList | nn.Sequential, str]


def _blocks(backbone: nn.Module) -> _Place | None:
    """The longest stack of modules in ``backbone`` that is not the adapter's: its parent, itself, its name there."""
    found: list[_Place] = []
    for path, module in backbone.named_modules():
        if path and not path.startswith("adapter") and isinstance(module, nn.ModuleList | nn.Sequential):
            parent, _, name = path.rpartition(".")
            found.append((backbone.get_submodule(parent), module, name))
    return max(found, key=lambda place: len(place[1]), default=None)


def _alike(blocks: nn.ModuleList | nn.Sequential) -> bool:
    """Whether all ``blocks`` have the same parts and hooks, so that two of them speak for all."""

    def parts(block: nn.Module) -> list[tuple[str, type, int]]:
        named = block.named_modules()
        return [(name, type(part), len(part._forward_hooks) + len(part._forward_pre_hooks)) for name, part in named]

    kinds = [parts(block) for block in blocks]
    return len(kinds) > 1 and all(kind == kinds[0] for kind in kinds)


@contextmanager
def _truncated(place: _Place | None, kept: int) -> Iterator[None]:
    """Only the first ``kept`` blocks, for a while."""
    if place is None:
        yield
        return
    parent, blocks, name = place
    setattr(parent, name, blocks[:kept])
    try:
        yield
    finally:
        setattr(parent, name, blocks)


@contextmanager
def _hook(module: nn.Module, tell: Callable[[Any], None]) -> Iterator[None]:
    def told(_module: nn.Module, _inputs: Any, out: Any) -> None:
        tell(out)

    handle = module.register_forward_hook(told)
    try:
        yield
    finally:
        handle.remove()
