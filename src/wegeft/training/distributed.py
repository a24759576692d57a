"""Several processes that carry out one run: who takes which part, and how the parts become one again.

The trained parameters are the same on every process, and their gradients are summed once per step, after the last
backward pass. Sums and not means, and not inside the backward pass as DistributedDataParallel does it, because then
the loss of a step is its sum over the global batch divided by the units of the global batch however uneven the parts
are, a process may have nothing to do, and adapters are small enough not to need the overlap. With
``runtime.distributed=fsdp`` the frozen weights of the blocks are sharded besides (FSDP2) and gathered block by block.

Does not: start processes (``torchrun`` and ``accelerate launch`` do), or shard what is trained.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from wegeft.errors import UserError
from wegeft.rank import started

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """The processes of this run; every method but `part` is called by all of them together.

    Attributes:
        rank: number of this process.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def part(self, items: Sequence[T]) -> Sequence[T]:
        """Every ``size``-th of ``items``; the parts of all processes are as equal as they can be."""
        return items[self.rank :: self.size]

    def collect(self, value: Any) -> list[Any]:
        """The ``value`` of every process, in their order; anything that JSON can hold."""
        if self.size == 1:
            return [value]
        own_N = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(lengths, torch.tensor([len(own_N)]))
        longest = max(int(length) for length in lengths)
        rows = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.size)]
        dist.all_gather(rows, nn.functional.pad(own_N, (0, longest - len(own_N))))
        return [json.loads(row_N[: int(length)].numpy().tobytes()) for row_N, length in zip(rows, lengths, strict=True)]

    def total(self, values: Sequence[float]) -> list[float]:
        """Sums of ``values`` over the processes, the same bits on each."""
        if self.size == 1:
            return list(values)
        sums_N = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(sums_N)
        found: list[float] = sums_N.tolist()
        return found

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its sum over the processes; a missing one counts as zero."""
        if self.size == 1:
            return
        by_kind: dict[tuple[torch.dtype, torch.device], list[nn.Parameter]] = {}
        for parameter in parameters:
            by_kind.setdefault((parameter.dtype, parameter.device), []).append(parameter)
        for members in by_kind.values():
            flat_N = torch.cat([_gradient(parameter).flatten() for parameter in members])
            dist.all_reduce(flat_N)
            for parameter, sum_N in zip(members, flat_N.split([p.numel() for p in members]), strict=True):
                parameter.grad = sum_N.view_as(parameter)

    def copy_from_main(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite each tensor with the main process's."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)


def current() -> World:
    """The processes of this run; one, unless `processes` is around and a launcher has started more."""
    return World(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else World()


@contextmanager
def processes(on_gpu: bool, patience: timedelta) -> Iterator[World]:
    """Join the processes that the launcher has started (``WORLD_SIZE`` and its like); one process joins none.

    Args:
        on_gpu: whether tensors on a GPU are exchanged as well.
        patience: how long an exchange may take before it ends the run.
    """
    if started() == 1 or dist.is_initialized():
        yield current()
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=patience)
    yield current()
    dist.destroy_process_group()  # after an error it could wait for processes that are gone


def local_device(kind: str) -> torch.device:
    """The device of this process: on a GPU machine, the one of its number among the processes there."""
    if kind == "cuda" and started() > 1:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
        return device
    return torch.device(kind)


def shard(backbone: nn.Module, device: torch.device) -> None:
    """Spread the frozen weights of the blocks of ``backbone`` over all processes in place; move the rest to ``device``.

    ``backbone`` may lie in host memory: it is moved block by block, and no device ever holds all of it.

    Raises:
        UserError: most of the backbone is trained, which is not sharded.
    """
    kept = {parameter for parameter in backbone.parameters() if parameter.requires_grad}
    blocks = _blocks(backbone)
    sharded = sum(p.numel() for block in blocks for p in block.parameters() if p not in kept)
    if sharded < sum(p.numel() for p in kept):
        raise UserError("runtime.distributed=fsdp shards frozen weights, and here most are trained; choose ddp.")
    mesh = init_device_mesh(device.type, (current().size,))
    for block in blocks:
        fully_shard(block, mesh=mesh, ignored_params=kept)
    # The root only lets the next block be fetched while one is computed; embeddings and heads stay whole, for the loop
    # calls some of them on their own and they may be tied to each other.
    root: Any = getattr(backbone, "base_model", backbone)
    fully_shard(root, mesh=mesh, ignored_params={p for p in root.parameters() if not isinstance(p, DTensor)})
    for tensor in (*backbone.parameters(), *backbone.buffers()):
        if not isinstance(tensor, DTensor):
            tensor.data = tensor.data.to(device)


def is_sharded(backbone: nn.Module) -> bool:
    """Whether a forward pass of ``backbone`` needs all processes."""
    return any(isinstance(parameter, DTensor) for parameter in backbone.parameters())


def _blocks(backbone: nn.Module) -> list[nn.Module]:
    """The repeated blocks of a network: the largest list of modules of one class."""
    lists = [list(m.children()) for m in backbone.modules() if isinstance(m, nn.ModuleList | nn.Sequential)]
    alike = [children for children in lists if len({type(child) for child in children}) == 1]
    return max(alike, key=lambda children: sum(p.numel() for c in children for p in c.parameters()), default=[])


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
