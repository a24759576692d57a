"""Time and memory of a training step of several adapted copies of one backbone, taken in turns in one process.

All copies share the frozen weights. A step is a forward pass to the last hidden state and a backward pass to the
input, whose gradient stands for whatever lies below; the head and the loss, which no method touches, are left out.

Does not: know which methods there are, or write files.
"""

import copy
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from wegeft.efficiency.figures import Figures
from wegeft.methods.base import Method
from wegeft.progress import progress
from wegeft.training.regional import compiled_blocks

Probe = Callable[[nn.Module], Tensor]
"""Runs a backbone on a fixed batch that wants a gradient; the output is what the backward pass starts from."""


Memory = tuple[int, int | None, int | None]
"""Kept for the backward pass; allocated and reserved at the peak, on a GPU."""

Multiply = Callable[[Tensor, Tensor], Tensor]
"""A matrix product."""

VERSIONS = 8
"""Of its code that the compiler may make for one contestant."""


@dataclass
class Rival:
    """One contestant at work in its own copy of the backbone; ``compiled`` as ``training.compile`` does it."""

    method: Method
    model: nn.Module
    compiled: bool = False


def prepare(
    backbone: nn.Module, build: Callable[[], Method], heads: Sequence[str], seed: int, compiled: bool = False
) -> Rival:
    """A copy of ``backbone`` that shares its weights, adapted and in training mode."""
    shared = {id(tensor): tensor for tensor in (*backbone.parameters(), *backbone.buffers())}
    model = copy.deepcopy(backbone, dict(shared))
    torch.manual_seed(seed)
    method = build()
    method.attach(model, heads)
    return Rival(method, model.train(), compiled)


def measure(rivals: Mapping[str, Rival], probe: Probe, rounds: int, device: torch.device) -> dict[str, Figures]:
    """Figures of every contestant.

    Args:
        rivals: contestants by name.
        probe: the batch.
        rounds: timed rounds; in each, every contestant takes one step, in a new order, so that a change of the
            machine's pace falls on all alike.
        device: where they compute.
    """
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    order = list(rivals)
    with _compiled(rivals.values()):
        with progress((rounds + 1) * len(order), "training steps") as advance:
            for turn in range(rounds + 1):
                random.Random(turn).shuffle(order)
                for name in order:
                    seconds[name].append(_timed(partial(_step, rivals[name].model, probe), device))
                    advance(1, name)
        memory = {name: _memory(rival.model, probe, device) for name, rival in rivals.items()}
    flops = {name: None if rival.compiled else model_flops(rival, probe) for name, rival in rivals.items()}
    return {
        name: _figures(rival, probe, rounds, device, seconds[name], memory[name], flops[name])
        for name, rival in rivals.items()
    }


@contextmanager
def _compiled(rivals: Iterable[Rival]) -> Iterator[None]:
    """Within, the blocks of those that ask for it run compiled. Evaluation is left out, as in a run."""
    models = [rival.model for rival in rivals if rival.compiled]
    with ExitStack() as stack:
        if models:
            # All blocks have one code, of which the compiler keeps a version for each contestant, by default a few.
            limit = VERSIONS * len(models)
            stack.enter_context(torch._dynamo.config.patch(recompile_limit=limit, fail_on_recompile_limit_hit=True))
        for model in models:
            stack.enter_context(compiled_blocks(model))
        yield


def _figures(
    rival: Rival,
    probe: Probe,
    rounds: int,
    device: torch.device,
    seconds: Sequence[float],
    memory: Memory,
    flops: int | None,
) -> Figures:
    warming, *timed = seconds  # of the first round
    saved, allocated, reserved = memory
    return Figures(
        trainable=rival.method.parameter_count(),
        adapter_bytes=sum(tensor.nbytes for tensor in rival.method.adapter_state().values()),
        step_seconds=tuple(timed),
        saved_bytes=saved,
        peak_allocated_bytes=allocated,
        peak_reserved_bytes=reserved,
        evaluation_seconds=tuple(_evaluation(rival, probe, rounds, device)),
        step_flops=flops,
        compiling_seconds=warming if rival.compiled else None,
    )


def model_flops(rival: Rival, probe: Probe) -> int:
    """Floating-point operations of a step of ``rival``; a multiply-add is two."""
    with FlopCounterMode(display=False) as counter:
        _step(rival.model, probe)
    return int(counter.get_total_flops())


def peak_flops(dtype: torch.dtype, device: torch.device, size: int, multiply: Multiply) -> float:
    """Operations per second of a square product of side ``size`` by ``multiply``: what this machine can do at best."""
    a_DD = torch.ones(size, size, dtype=dtype, device=device)
    seconds = min(_timed(lambda: multiply(a_DD, a_DD), device) for _ in range(5))
    return float(2 * size**3 / seconds)


def _step(model: nn.Module, probe: Probe) -> None:
    """Forward, backward, and the gradients dropped."""
    output = probe(model)
    output.backward(torch.ones_like(output))
    for parameter in model.parameters():
        parameter.grad = None


def _timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of ``work``, the device's queue drained before and after."""
    _drain(device)
    started = time.perf_counter()
    work()
    _drain(device)
    return time.perf_counter() - started


def _drain(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _evaluation(rival: Rival, probe: Probe, rounds: int, device: torch.device) -> Iterator[float]:
    """Seconds of forward passes as evaluation makes them, after one that warms up."""
    with _folded(rival), torch.inference_mode():
        for turn in range(rounds + 1):
            elapsed = _timed(lambda: probe(rival.model), device)
            if turn:
                yield elapsed


@contextmanager
def _folded(rival: Rival) -> Iterator[None]:
    """Evaluation mode, the method in the weights if it can be."""
    rival.model.eval()
    if rival.method.mergeable:
        rival.method.merge()
    try:
        yield
    finally:
        rival.method.unmerge()
        rival.model.train()


def _memory(model: nn.Module, probe: Probe, device: torch.device) -> Memory:
    allocated, reserved = _peak(model, probe, device)
    return _saved_bytes(model, probe), allocated, reserved


def _saved_bytes(model: nn.Module, probe: Probe) -> int:
    """See `Figures.saved_bytes`."""
    seen: dict[int, int] = {}
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        _step(model, probe)
    return sum(seen.values())


def _peak(model: nn.Module, probe: Probe, device: torch.device) -> tuple[int | None, int | None]:
    """(allocated, reserved) at the peak of a step on a GPU; only this contestant's weights count as allocated."""
    if device.type != "cuda":
        return None, None
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    _step(model, probe)
    weights = sum(parameter.nbytes for parameter in model.parameters())
    return torch.cuda.max_memory_allocated(device) - before + weights, torch.cuda.max_memory_reserved(device)
