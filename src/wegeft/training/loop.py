"""The training loop: one function that minimises an objective over a method's parameters.

Small on purpose: the loss of a step is the sum over the units (label tokens, images) of the global batch divided by
their number, so the result does not depend on micro-batches or on the number of processes; a non-finite loss or
gradient stops the run before the optimiser touches anything; order and randomness (dropout) of a step follow from the
seed and the step number, so a run that goes on from a checkpoint ends with the same bytes as one that never stopped.

Does not: know tasks or the format of a checkpoint.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from wegeft.config import TrainingConfig
from wegeft.errors import UserError
from wegeft.progress import progress
from wegeft.training import checkpoint
from wegeft.training.distributed import World, current, is_sharded
from wegeft.training.flat_attention import flat_attention
from wegeft.training.interruption import Interrupted, stop_requests
from wegeft.training.logger import Log, silent
from wegeft.training.masters import Masters
from wegeft.training.memory import peak_memory_bytes, reset_peak_memory
from wegeft.training.micro_batch import MicroBatch
from wegeft.training.objective import Objective
from wegeft.training.order import global_batches, length_grouped_order
from wegeft.training.regional import compiled_blocks
from wegeft.training.result import TrainingResult
from wegeft.training.schedule import learning_rate, steps_per_epoch, total_steps
from wegeft.training.transfer import batch_to_device

Item = TypeVar("Item")


class Trainable(Protocol):
    """What the loop needs of a method (see :class:`wegeft.methods.base.Method`)."""

    @property
    def backbone(self) -> nn.Module:
        """The adapted backbone, on its device."""

    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters to train, by name."""

    def extra_loss(self) -> Tensor | None:
        """A term that the method adds to the loss of a step."""

    def several_passes(self, passes: int) -> AbstractContextManager[None]:
        """Stays entered for the forward and backward passes of one step, if it has more than one."""

    def after_step(self) -> None:
        """Called after the optimiser, while the gradients are still there."""


class NonFiniteError(RuntimeError):
    """A loss or gradient norm was not finite; the step was not taken.

    Attributes:
        result: what was done before.
        loss: of the step that was not taken.
        norm: of its gradient.
        indices: its examples.
        batch: they themselves, with the random choices of the step.
    """

    def __init__(
        self, result: TrainingResult, loss: float, norm: float, indices: Sequence[int], batch: Sequence[Any]
    ) -> None:
        super().__init__(f"step {result.steps}: loss {loss}, gradient norm {norm}; the step was not taken")
        self.result, self.loss, self.norm, self.indices, self.batch = result, loss, norm, indices, batch


def train(
    method: Trainable,
    items: Sequence[Item],
    objective: Objective[Item],
    config: TrainingConfig,
    seed: int,
    log: Log = silent,
    checkpoints: Path | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> TrainingResult:
    """Minimise ``objective`` over the method's parameters, in place.

    With several processes (``wegeft.training.distributed``) each calls this with the same arguments and takes its part
    of every global batch; all end with the same parameters and the same result.

    Args:
        method: what is trained; everything else in its backbone stays as it is.
        items: prepared training examples.
        objective: how examples become a loss.
        config: sizes, optimiser, schedule.
        seed: fixes the order of the examples and the dropout of every step.
        log: called after every step with its loss, gradient norm and learning rate.
        checkpoints: folder to keep the state in, and to go on from if there is one; None keeps none.
        provenance: what surrounds this process, kept in ``parts`` of the result.

    Raises:
        NonFiniteError: before the step that would have used a non-finite loss or gradient.
        Interrupted: the system asked to stop; the state is in ``checkpoints``.
    """
    model, parameters, world = method.backbone, method.trainable(), current()
    steps, per_epoch = total_steps(config, len(items)), steps_per_epoch(config, len(items))
    masters = Masters(parameters, config.fp32_masters)
    groups = parameter_groups(masters.values, config.weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=config.betas, eps=config.eps)
    result = _go_on(checkpoints, masters, optimizer, world)
    if provenance is not None:
        result.parts.append({"from_step": result.steps, "provenance": dict(provenance)})
    reset_peak_memory()
    batches = _batches(items, objective, config, seed, steps, result.steps)
    micro = MicroBatch(config.micro_batch_size, is_fixed=is_sharded(model))
    with _training_mode(model, config), stop_requests() as stop, progress(steps, "train") as advance:
        advance(result.steps)
        for step, (indices, coming) in enumerate(_with_next(batches), start=result.steps):
            started = time.perf_counter()
            _seed_step(seed, step + 1)  # random choices of a step follow from its seed, whenever they are made
            objective.expect(world.part(objective.draw([items[index] for index in coming])))
            _seed_step(seed, step)
            batch = objective.draw([items[index] for index in indices])
            rate = _set_rate(optimizer, learning_rate(config, step, steps, per_epoch))
            own_loss = micro.within_memory(
                len(batch),
                partial(_accumulate_gradients, method, objective, batch, config, world),
                partial(_restart_step, masters, seed, step),
            )
            world.add_gradients(parameters.values())
            (loss,) = world.total([own_loss])
            norm = _clip(parameters.values(), config.max_grad_norm)
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise NonFiniteError(result, loss, norm, indices, batch)
            masters.take_gradients()
            optimizer.step()
            masters.give_values()
            method.after_step()
            masters.clear_gradients()
            _account(result, objective, batch, loss, norm, time.perf_counter() - started)
            log(step, {"loss": loss, "grad_norm": norm, "learning_rate": rate})
            advance(note=f"loss {loss:.4f} · {result.tokens / result.seconds:,.0f} tokens/s")
            (stops,) = world.total([float(stop.is_set())])  # all stop, whichever was asked
            due = stops or result.steps % config.checkpoint_every == 0 or result.steps == steps
            if checkpoints and world.is_main and due:
                checkpoint.save(checkpoints, masters.values, optimizer, result)
            if stops and result.steps < steps:
                raise Interrupted(f"stopped after {result.steps} of {steps} steps")
    return result


def _go_on(
    checkpoints: Path | None, masters: Masters, optimizer: torch.optim.Optimizer, world: World
) -> TrainingResult:
    """The state of the last checkpoint, put in place, or a new one; the same on every process.

    Raises:
        UserError: the processes see different checkpoints.
    """
    result = checkpoint.restore(checkpoints, masters.values, optimizer) if checkpoints else None
    result = result or TrainingResult()
    if len(set(world.collect(result.steps))) > 1:
        raise UserError(f"the processes do not see the same files in {checkpoints}; output_dir must be shared by all.")
    world.copy_from_main(masters.values.values())
    masters.give_values()
    return result


@contextmanager
def _training_mode(model: nn.Module, config: TrainingConfig) -> Iterator[None]:
    """Dropout on and, if asked for, activations recomputed in backward; evaluation mode again afterwards."""
    if config.gradient_checkpointing:
        recompute_activations(model, True)
    model.train()
    try:
        with ExitStack() as stack:
            if config.compile:
                stack.enter_context(compiled_blocks(model))
            elif config.batching == "flat":
                stack.enter_context(flat_attention(model))
            yield
    finally:
        model.eval()
        if config.gradient_checkpointing:
            recompute_activations(model, False)


def recompute_activations(model: nn.Module, on: bool) -> None:
    """Switch gradient checkpointing, which timm and transformers call by different names."""
    backbone: Any = getattr(model, "module", model)
    if hasattr(backbone, "set_grad_checkpointing"):
        backbone.set_grad_checkpointing(on)
    elif on:
        backbone.activation_checkpointing_enable({"use_reentrant": False})
    else:
        backbone.activation_checkpointing_disable()


def parameter_groups(parameters: Mapping[str, nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """AdamW groups: weight decay on tensors of rank two and more, none on biases, gains and other vectors."""
    matrices = [p for p in parameters.values() if p.ndim >= 2]
    vectors = [p for p in parameters.values() if p.ndim < 2]
    groups = ({"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0})
    return [group for group in groups if group["params"]]


def _batches(
    items: Sequence[Item], objective: Objective[Item], config: TrainingConfig, seed: int, steps: int, start: int
) -> Iterator[list[int]]:
    """Indices of the examples of the steps from ``start``, in the order that ``training.order`` names."""
    order_of: Callable[[int], list[int]] | None = None
    if config.order == "length_grouped":
        lengths = [objective.tokens([item]) for item in items]
        order_of = partial(length_grouped_order, lengths, config.batch_size, seed)
    return global_batches(len(items), config.batch_size, seed, steps, start, order_of)


def _with_next(batches: Iterable[list[int]]) -> Iterator[tuple[list[int], list[int]]]:
    """Every batch and the one after it, which is empty after the last."""
    return pairwise(chain(batches, [[]]))


def _seed_step(seed: int, step: int) -> None:
    """Random numbers of a step follow from the seed and its number alone."""
    torch.manual_seed(seed * 1_000_003 + step)


def _restart_step(masters: Masters, seed: int, step: int) -> None:
    """As if the step had not been tried."""
    masters.clear_gradients()
    _seed_step(seed, step)


def _accumulate_gradients(
    method: Trainable,
    objective: Objective[Item],
    batch: Sequence[Item],
    config: TrainingConfig,
    world: World,
    micro_batch_size: int | None,
) -> float:
    """Backward over this process's part of the global batch, in micro-batches.

    Returns:
        The part's share of the loss per unit of the global batch, without the method's own term.
    """
    model = method.backbone
    units = max(objective.units(batch), 1)  # where all answers of a step are cut off its loss is 0, not 0/0
    device = next(model.parameters()).device
    # A tensor, because a number would let the host wait for the GPU before it collates the next micro-batch.
    total = torch.zeros((), dtype=torch.float64, device=device)
    micro_batches = list(_micro_batches(batch, micro_batch_size, world, in_step=is_sharded(model)))
    passes = len(micro_batches) * (2 if config.gradient_checkpointing else 1)
    # Sharded weights are whole only within the passes, so nothing can be computed from them for all of these.
    with method.several_passes(1 if is_sharded(model) else passes):
        for micro, weight in micro_batches:
            collated = objective.collate(micro, config.batching)
            loss = objective.loss_sum(model, batch_to_device(collated, device))
            loss = weight * loss / units
            loss.backward()
            total += loss.detach()
    extra = method.extra_loss() if world.is_main else None  # once: gradients are summed over the processes
    if extra is not None:
        extra.backward()
    return total.item()


def _micro_batches(
    batch: Sequence[Item], size: int | None, world: World, in_step: bool
) -> Iterator[tuple[Sequence[Item], float]]:
    """This process's part of ``batch``, at most ``size`` at a time, each with its weight in the loss.

    Where the processes must go ``in_step``, one whose part is used up goes on with an example of weight zero.
    """
    part = world.part(batch)
    longest = -(-len(batch) // world.size)
    for first in range(0, longest, size or longest):
        micro = part[first : first + (size or longest)]
        if micro:
            yield micro, 1.0
        elif in_step:
            yield batch[:1], 0.0


def _clip(parameters: Iterable[nn.Parameter], max_norm: float | None) -> float:
    """Clip the global gradient norm in place; returns the norm before clipping."""
    norm: Tensor = nn.utils.clip_grad_norm_(parameters, math.inf if max_norm is None else max_norm)
    return norm.item()


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> float:
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate


def _account(
    result: TrainingResult,
    objective: Objective[Item],
    batch: Sequence[Item],
    loss: float,
    norm: float,
    seconds: float,
) -> None:
    """Add one step to ``result``."""
    result.loss_curve.append((result.steps, loss, norm))
    result.steps += 1
    result.examples += len(batch)
    result.tokens += objective.tokens(batch)
    result.units += objective.units(batch)
    result.seconds += seconds
    result.peak_memory_bytes = max(result.peak_memory_bytes, peak_memory_bytes())
