"""The training loop: one function that minimises an objective over a method's parameters.

Small on purpose, over Accelerate: the loss of a step is the sum over the units (label tokens, images) of the global
batch divided by their number, so the result does not depend on micro-batches; a non-finite loss or gradient stops the
run before the optimiser touches anything; order and randomness (dropout) of a step follow from the seed and the step
number, so a run that goes on from a checkpoint ends with the same bytes as one that was never stopped.

Does not: know tasks or the format of a checkpoint.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from wegeft.config import TrainingConfig
from wegeft.progress import progress
from wegeft.training import checkpoint
from wegeft.training.interruption import Interrupted, stop_requests
from wegeft.training.logger import Log, silent
from wegeft.training.memory import peak_memory_bytes, reset_peak_memory
from wegeft.training.objective import Objective
from wegeft.training.order import global_batches
from wegeft.training.result import TrainingResult
from wegeft.training.schedule import learning_rate, steps_per_epoch, total_steps

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

    def after_step(self) -> None:
        """Called after the optimiser, while the gradients are still there."""


class NonFiniteError(RuntimeError):
    """A loss or gradient norm was not finite; the step was not taken. ``result`` holds what was done before."""

    def __init__(self, sentence: str, result: TrainingResult) -> None:
        super().__init__(sentence)
        self.result = result


def train(
    method: Trainable,
    items: Sequence[Item],
    objective: Objective[Item],
    config: TrainingConfig,
    seed: int,
    log: Log = silent,
    checkpoints: Path | None = None,
) -> TrainingResult:
    """Minimise ``objective`` over the method's parameters, in place.

    Args:
        method: what is trained; everything else in its backbone stays as it is.
        items: prepared training examples.
        objective: how examples become a loss.
        config: sizes, optimiser, schedule.
        seed: fixes the order of the examples and the dropout of every step.
        log: called after every step with its loss, gradient norm and learning rate.
        checkpoints: folder to keep the state in, and to go on from if there is one; None keeps none.

    Raises:
        NonFiniteError: before the step that would have used a non-finite loss or gradient.
        Interrupted: the system asked to stop; the state is in ``checkpoints``.
    """
    model, parameters = method.backbone, method.trainable()
    steps, per_epoch = total_steps(config, len(items)), steps_per_epoch(config, len(items))
    accelerator = Accelerator(cpu=next(iter(parameters.values())).device.type == "cpu")
    groups = parameter_groups(parameters, config.weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=config.betas, eps=config.eps)
    found = checkpoint.restore(checkpoints, parameters, optimizer) if checkpoints else None
    result = found or TrainingResult()
    model, prepared_optimizer = accelerator.prepare(model, optimizer)
    reset_peak_memory()
    batches = global_batches(len(items), config.batch_size, seed, steps, start=result.steps)
    with _training_mode(model, config), stop_requests() as stop, progress(steps, "train") as advance:
        advance(result.steps)
        for step, indices in enumerate(batches, start=result.steps):
            started = time.perf_counter()
            torch.manual_seed(seed * 1_000_003 + step)
            batch = objective.draw([items[index] for index in indices])
            rate = _set_rate(optimizer, learning_rate(config, step, steps, per_epoch))
            loss = _accumulate_gradients(accelerator, model, objective, batch, config, method.extra_loss)
            norm = _clip(parameters.values(), config.max_grad_norm)
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise NonFiniteError(f"step {step}: loss {loss}, gradient norm {norm}; the step was not taken", result)
            prepared_optimizer.step()
            method.after_step()
            prepared_optimizer.zero_grad(set_to_none=True)
            _account(result, objective, batch, loss, norm, time.perf_counter() - started)
            log(step, {"loss": loss, "grad_norm": norm, "learning_rate": rate})
            advance(note=f"loss {loss:.4f} · {result.tokens / result.seconds:,.0f} tokens/s")
            if checkpoints and (stop.is_set() or result.steps % config.checkpoint_every == 0):
                checkpoint.save(checkpoints, parameters, optimizer, result)
            if stop.is_set() and result.steps < steps:
                raise Interrupted(f"stopped after {result.steps} of {steps} steps")
    return result


@contextmanager
def _training_mode(model: nn.Module, config: TrainingConfig) -> Iterator[None]:
    """Dropout on and, if asked for, activations recomputed in backward; evaluation mode again afterwards."""
    if config.gradient_checkpointing:
        recompute_activations(model, True)
    model.train()
    try:
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


def _accumulate_gradients(
    accelerator: Accelerator,
    model: nn.Module,
    objective: Objective[Item],
    batch: Sequence[Item],
    config: TrainingConfig,
    extra_loss: Callable[[], Tensor | None],
) -> float:
    """Backward over the global batch in micro-batches; returns its loss per unit, without the method's own term."""
    units = objective.units(batch)
    total = 0.0
    for micro in _chunks(batch, config.micro_batch_size or len(batch)):
        tensors = {
            name: tensor.to(accelerator.device) for name, tensor in objective.collate(micro, config.batching).items()
        }
        loss = objective.loss_sum(model, tensors) / units
        accelerator.backward(loss)
        total += loss.item()
    extra = extra_loss()
    if extra is not None:
        accelerator.backward(extra)
    return total


def _chunks(batch: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    for first in range(0, len(batch), size):
        yield batch[first : first + size]


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
