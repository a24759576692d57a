"""What a run will cost: steps, tokens, time, memory, disk; measured in runs of the same kind, or modelled.

Does not: look for missing runs, or print.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from statistics import median
from typing import Any

from wegeft.config import RunConfig, TrainingConfig
from wegeft.planning.costs import Costs, Subject
from wegeft.planning.hardware import AUTO, Machine, Point, assumed, fitted
from wegeft.planning.measured import Observation, by_kind, point, step_recipe
from wegeft.planning.work import Architecture, Shape, Traced, Work
from wegeft.planning.workload import LONGEST, PADDING, Workload, workload
from wegeft.training.checkpoint import KEPT
from wegeft.training.result import TrainingResult
from wegeft.training.schedule import total_steps

DECODING = 1.5
"""Decoding steps of a batch over the mean length of its answers: the batch goes on until its last ones end."""
BYTES_PER_ANSWER, BYTES_PER_TOKEN = 330, 5
"""Of ``samples.jsonl``: the fields of an answer, and its text."""


@dataclass(frozen=True)
class Estimate:
    """What one run costs; None where nobody can know before the data is there, or the family cannot be traced.

    Attributes:
        architecture: parameter counts.
        workload: examples and lengths.
        steps: optimiser steps.
        tokens: read while training, padding excluded.
        train_seconds, eval_seconds: on ``machine``.
        memory: bytes at the peak of the training.
        checkpoint_bytes: at most, while the run lasts. kept_bytes: afterwards, adapter and samples.
        machine: what the times are for.
        basis: how they are known, in words.
    """

    architecture: Architecture
    workload: Workload
    steps: int | None
    tokens: float | None
    train_seconds: float | None
    eval_seconds: float | None
    memory: float | None
    checkpoint_bytes: float
    kept_bytes: float
    machine: str
    basis: str

    @property
    def source(self) -> str:
        """:attr:`basis` in a word: measured, fitted or assumed."""
        return next(word for word in ("measured", "fitted", "assumed") if word in self.basis)

    @property
    def hours(self) -> float | None:
        """Of the machine, training and evaluation together; of training alone where nobody knows the evaluation's."""
        return None if self.train_seconds is None else (self.train_seconds + (self.eval_seconds or 0.0)) / 3600

    @property
    def is_partial(self) -> bool:
        """Whether :attr:`hours` leave the evaluation out."""
        return self.train_seconds is not None and self.eval_seconds is None


class Estimator:
    """Estimates runs from the costs of their steps and from what was seen of other runs."""

    def __init__(self, seen: Sequence[Observation], costs: Costs | None = None, hardware: str = AUTO) -> None:
        self._seen = list(seen)
        self._costs = costs or Costs()
        self._hardware = hardware
        self._machines: dict[tuple[str, str, str, str | None], Machine] = {}
        self._by_recipe: dict[tuple[str, str], list[Observation]] = {}
        for one in self._seen:
            self._by_recipe.setdefault((one.machine, one.recipe), []).append(one)
        self._names = {one.machine for one in self._seen}
        self._kept: dict[str, Estimate] = {}

    def estimate(self, config: RunConfig, recipe: str | None = None) -> Estimate:
        """What the run that ``config`` describes costs, whose ``step_recipe`` is ``recipe``; kept for equal runs."""
        recipe = recipe or step_recipe(config.plain())
        training = config.training
        key = f"{recipe} {training.max_steps} {training.epochs} {config.evaluation} {config.task} {config.model}"
        if key not in self._kept:
            self._kept[key] = self._estimate(config, recipe)
        return self._kept[key]

    def machine(self, config: RunConfig) -> Machine:
        """The machine to plan for: the one asked for, else where this backbone was run, else the usual one."""
        name = self._hardware if self._hardware != AUTO else self._usual(config)
        key = (name, config.model.dtype, config.model.family, config.model.quantise)
        if key not in self._machines:
            self._machines[key] = fitted(assumed(*key[:2], measured=name in self._names), self._points(*key))
        return self._machines[key]

    def _usual(self, config: RunConfig) -> str:
        """Of equally many records the first by name; without any, an H100 for half precision, else this processor."""
        same = [one.machine for one in self._seen if one.model == config.model.name]
        others = [one.machine for one in self._seen if "threads" in one.machine]
        if not same and config.model.dtype == "bfloat16":
            return "h100"
        names = same or others or ["cpu"]
        return max(sorted(set(names)), key=names.count)

    def _points(self, machine: str, *kind_of_model: str | None) -> list[Point]:
        """One per kind of run on ``machine`` with such backbones, whose libraries are a part of the memory."""
        kinds = [kind for (name, _), kind in by_kind(self._seen).items() if name == machine]
        alike = [kind for kind in kinds if _kind_of(kind[0].config["model"]) == kind_of_model]
        found = [point(kind) for kind in alike]
        return [one for one in found if one is not None]

    def _estimate(self, config: RunConfig, recipe: str) -> Estimate:
        machine = self.machine(config)
        subject = Subject.of_config(config)
        load = workload(config, self._seen)
        architecture = self._costs.architecture(subject)
        known = self._by_recipe.get((machine.name, recipe), [])
        steps = _steps(config.training, load)
        lengths = Lengths(load.padded, load.answer, load.longest)
        step = step_work(self._costs, subject, lengths) if steps else None
        train, memory, measured = _training_cost(machine, step, steps, known)
        engine = config.evaluation.engine
        asked = [one for one in known if one.answers and one.answer_seconds and one.engine == engine]
        evaluation = self._evaluation_seconds(config, subject, load, machine, asked)
        answers = (load.answers or 0) * (BYTES_PER_ANSWER + BYTES_PER_TOKEN * load.generated)
        whole = bool(architecture.counts["trainable"] or architecture.counts["head"])
        return Estimate(
            architecture=architecture,
            workload=load,
            steps=steps if whole else 0,
            tokens=None if steps is None else whole * steps * config.training.batch_size * (load.prompt + load.answer),
            train_seconds=train if whole else 0.0,
            eval_seconds=evaluation,
            memory=memory,
            checkpoint_bytes=(KEPT + 1) * 3 * architecture.masters,  # the oldest goes when the newest is there
            kept_bytes=architecture.trained + answers,
            machine=machine.name,
            basis=f"measured in {measured} runs" if measured else machine.basis,
        )

    def _evaluation_seconds(
        self, config: RunConfig, subject: Subject, load: Workload, machine: Machine, asked: Sequence[Observation]
    ) -> float | None:
        """By the rate of runs of this kind, else one pass over the prompts of a batch and one a generated token."""
        if load.answers is None or (config.model.weights == "random" and not config.model.untrained_control):
            return None if load.answers is None else 0.0
        if asked:
            return median(one.answer_seconds / one.answers for one in asked) * load.answers
        size = min(config.evaluation.usual_batch_size(machine.is_gpu), max(1, load.answers))
        prompts = self._costs.forward(subject, Shape(size, max(1, round(load.test_prompt)), size))
        token = self._costs.forward(subject, Shape(size, 1, size))
        if prompts is None or token is None:
            return None
        decoding = machine.seconds(token) * min(DECODING * load.generated, float(config.task.get("max_new_tokens", 0)))
        return ceil(load.answers / size) * (machine.seconds(prompts) + decoding)


@dataclass(frozen=True)
class Lengths:
    """In positions: of a row as it is computed, of the part that is predicted, of the longest row."""

    padded: float
    answer: float
    longest: float


def seen_lengths(tokens: float, labels: float, examples: float) -> Lengths:
    """What a training that read ``tokens`` and predicted ``labels`` in so many ``examples`` worked on."""
    return Lengths(PADDING * tokens / examples, labels / examples, LONGEST * tokens / examples)


@dataclass(frozen=True)
class StepWork:
    """The work of one optimiser step, and the bytes of its tensors at the peak."""

    step: Work
    memory: float
    traced: Traced


def step_work(costs: Costs, subject: Subject, lengths: Lengths) -> StepWork | None:
    """One optimiser step of ``subject``; None where nothing is trained or can be traced."""
    training = subject.training
    batch = training["batch_size"]
    rows = min(training.get("micro_batch_size") or batch, batch)
    padded = max(1, round(lengths.padded))
    shape = Shape(rows, padded, max(1, round(rows * lengths.answer)))
    traced = costs.training(subject, shape)
    if traced is None:
        return None
    again = bool(training.get("gradient_checkpointing"))
    micro = traced.forward * (2.0 if again else 1.0) + traced.backward
    saved = traced.saved_by_checkpoints + traced.saved_of_a_block if again else traced.saved
    state = costs.architecture(subject)
    kept = traced.weights + 2.0 * state.trained + state.copies + 2.0 * state.masters
    # After backward the copies get their gradients, and the optimiser takes room for as much as a moment.
    memory = kept + max(saved * max(1.0, lengths.longest / padded), state.copies + state.masters)
    return StepWork(micro * (batch / rows) + traced.optimiser, memory, traced)


def _kind_of(model: Mapping[str, Any]) -> tuple[str | None, ...]:
    return model.get("dtype"), model.get("family"), model.get("quantise")


def work_of(config: RunConfig, result: TrainingResult) -> dict[str, float] | None:
    """The work of a step of a training that was made, as its record keeps it for later estimates."""
    if not result.examples:
        return None
    lengths = seen_lengths(result.tokens, result.units, result.examples)
    found = step_work(Costs(), Subject.of_config(config), lengths)
    return None if found is None else {**asdict(found.step), "tensor_bytes": found.memory}


def _training_cost(
    machine: Machine, step: StepWork | None, steps: int | None, known: Iterable[Observation]
) -> tuple[float | None, float | None, int]:
    """Seconds and bytes of the training, and how many runs they were measured in (0: modelled)."""
    trained = [one for one in known if one.steps and one.seconds]
    if trained and steps:
        memories = [one.memory for one in trained if one.memory]
        seconds = median(one.seconds / one.steps for one in trained) * steps
        return seconds, median(memories) if memories else None, len(trained)
    if step is None or steps is None:
        return None, None, 0
    return machine.seconds(step.step) * steps, step.memory + machine.overhead, 0


def _steps(training: TrainingConfig, load: Workload) -> int | None:
    if training.max_steps is None and load.train_examples is None:
        return None
    return total_steps(training, load.train_examples or 0)
