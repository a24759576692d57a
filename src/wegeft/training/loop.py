"""The training loop: one function that minimises an objective over a method's parameters.

Small on purpose, over Accelerate: the loss of a step is the sum over the units (label tokens, images) of the global
batch divided by their number, so the result does not depend on micro-batches; a non-finite loss or gradient stops the
run before the optimiser touches anything; the randomness of a step (dropout) follows from the seed and the step number.

Does not: know methods, tasks or file formats.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from wegeft.config import TrainingConfig
from wegeft.progress import progress
from wegeft.training.logger import Log
from wegeft.training.memory import peak_memory_bytes, reset_peak_memory
from wegeft.training.objective import Objective
from wegeft.training.order import global_batches
from wegeft.training.schedule import learning_rate, total_steps

Item = TypeVar("Item")


class NonFiniteError(RuntimeError):
    """A loss or gradient norm was not finite; the step was not taken."""


@dataclass
class TrainingResult:
    """What training did: sizes, time and the curve.

    Attributes:
        steps: optimiser steps taken.
        examples: training examples seen, repeats included.
        tokens: positions processed, padding excluded.
        units: label tokens (text) or images (vision) in the loss.
        seconds: wall time of the loop.
        loss_curve: (step, mean loss per unit in nats, gradient norm before clipping) of every logged step.
        peak_memory_bytes: largest allocation on the device (GPU) or of the process (CPU).
    """

    steps: int = 0
    examples: int = 0
    tokens: int = 0
    units: int = 0
    seconds: float = 0.0
    loss_curve: list[tuple[int, float, float]] = field(default_factory=list)
    peak_memory_bytes: int = 0


def train(
    model: nn.Module,
    parameters: Mapping[str, nn.Parameter],
    items: Sequence[Item],
    objective: Objective[Item],
    config: TrainingConfig,
    seed: int,
    log: Log,
    result: TrainingResult,
    extra_loss: Callable[[], Tensor | None] = lambda: None,
    after_step: Callable[[], None] = lambda: None,
) -> None:
    """Minimise ``objective`` over ``parameters`` of ``model``, in place.

    Args:
        model: the adapted backbone, on its device.
        parameters: the trainable ones by name; everything else stays as it is.
        items: prepared training examples.
        objective: how examples become a loss.
        config: sizes, optimiser, schedule.
        seed: fixes the order of the examples and the dropout of every step.
        log: called after every step with its loss, gradient norm and learning rate.
        result: filled in step by step, so that it is right even if the run stops early.
        extra_loss: a term the method adds to the loss of a step, or None.
        after_step: called after the optimiser, while the gradients are still there (AdaLoRA needs them).

    Raises:
        NonFiniteError: before the step that would have used a non-finite loss or gradient.
    """
    steps = total_steps(config, len(items))
    accelerator = Accelerator(cpu=next(iter(parameters.values())).device.type == "cpu")
    optimizer = torch.optim.AdamW(
        parameter_groups(parameters, config.weight_decay), lr=0.0, betas=config.betas, eps=config.eps
    )
    model, optimizer = accelerator.prepare(model, optimizer)
    reset_peak_memory()
    started = time.perf_counter()
    with _training_mode(model, config), progress(steps, "train") as advance:
        for step, indices in enumerate(global_batches(len(items), config.batch_size, seed, steps)):
            torch.manual_seed(seed * 1_000_003 + step)
            batch = [items[index] for index in indices]
            rate = _set_rate(optimizer, learning_rate(config, step, steps))
            loss = _accumulate_gradients(accelerator, model, objective, batch, config, extra_loss)
            norm = _clip(parameters.values(), config.max_grad_norm)
            _require_finite(step, loss, norm)
            optimizer.step()
            after_step()
            optimizer.zero_grad(set_to_none=True)
            _account(result, objective, batch, step, loss, norm, time.perf_counter() - started)
            log(step, {"loss": loss, "grad_norm": norm, "learning_rate": rate})
            advance(note=f"loss {loss:.4f} · {result.tokens / result.seconds:,.0f} tokens/s")


@contextmanager
def _training_mode(model: nn.Module, config: TrainingConfig) -> Iterator[None]:
    """Dropout on and, if asked for, activations recomputed in backward; evaluation mode again afterwards."""
    backbone: Any = getattr(model, "module", model)
    if config.gradient_checkpointing:
        backbone.activation_checkpointing_enable({"use_reentrant": False})
    model.train()
    try:
        yield
    finally:
        model.eval()
        if config.gradient_checkpointing:
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
        tensors = {name: tensor.to(accelerator.device) for name, tensor in objective.collate(micro).items()}
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


def _clip(parameters: Any, max_norm: float | None) -> float:
    """Clip the global gradient norm in place; returns the norm before clipping."""
    norm: Tensor = nn.utils.clip_grad_norm_(parameters, math.inf if max_norm is None else max_norm)
    return norm.item()


def _require_finite(step: int, loss: float, norm: float) -> None:
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise NonFiniteError(f"step {step}: loss {loss}, gradient norm {norm}; the step was not taken")


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> float:
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate


def _account(
    result: TrainingResult,
    objective: Objective[Item],
    batch: Sequence[Item],
    step: int,
    loss: float,
    norm: float,
    seconds: float,
) -> None:
    result.steps = step + 1
    result.examples += len(batch)
    result.tokens += objective.tokens(batch)
    result.units += objective.units(batch)
    result.loss_curve.append((step, loss, norm))
    result.seconds = seconds
    result.peak_memory_bytes = peak_memory_bytes()
