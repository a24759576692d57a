"""What records tell about cost: one observation per run that was trained or evaluated.

Does not: read files, or estimate.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from wegeft.planning.hardware import Point
from wegeft.planning.work import Work
from wegeft.records.identity import digest, recipe_config
from wegeft.records.store import Record

WORK = ("flops", "product_bytes", "bytes", "kernels")
_RATES = ("learning_rates", "name")


@dataclass(frozen=True)
class Observation:
    """What one run cost. ``None`` where it was not measured.

    Attributes:
        run_id: of the record.
        machine: see :func:`machine_name`.
        data: see :func:`data_name`.
        scale, model, method: names.
        source: where the backbone's tokenizer comes from.
        config: node by group name, as recorded.
        recipe: digest of what decides the cost of a step.
        examples: training examples seen.
        tokens, labels: of these, padding excluded.
        steps, seconds, memory: of the training; memory in bytes at the peak.
        work, tensor_bytes: of one step, as it was counted when the run was made; None in older records.
        answers, generated, answer_seconds: of the evaluation. Seconds, here and of the training, are 0, and memory is
            None, where another machine had a part in them.
        is_whole: steps computed the whole network, no kept outputs of a frozen part of it.
    """

    run_id: str
    machine: str
    data: str
    scale: str
    model: str
    source: str
    method: str
    config: Mapping[str, Any]
    recipe: str
    examples: float
    tokens: int
    labels: int
    steps: int
    seconds: float
    memory: int | None
    answers: int
    generated: int | None
    answer_seconds: float
    work: Work | None
    tensor_bytes: float
    is_whole: bool = True

    @property
    def engine(self) -> str:
        """What generated the answers; older records do not say, as there was one engine."""
        engine: str = self.config["evaluation"].get("engine", "hf")
        return engine


def machine_name(hardware: Mapping[str, Any]) -> str:
    """The name under which measurements are comparable: the accelerators, or processor and threads."""
    return ", ".join(hardware["gpus"]) or f"{hardware['cpu']}, threads: {hardware['threads']}"


def trained_on_one_machine(record: Record) -> bool:
    """Whether every part of the training ran on the machine that the record names."""
    machine = machine_name(record["provenance"]["hardware"])
    parts = (record["training"] or {}).get("parts", ())
    return all(machine_name(part["provenance"]["hardware"]) == machine for part in parts)


def data_name(task: Mapping[str, Any], model: Mapping[str, Any]) -> str:
    """The task, and where its sets have rows of different lengths the set; images are all of one size."""
    subset = None if model.get("family") == "image_classifier" else task.get("subset")
    return f"{task['name']}/{subset}" if subset else str(task["name"])


def step_recipe(config: Mapping[str, Any]) -> str:
    """Digest of what decides the cost of a step: backbone, method, data, batch; not seeds and learning rates."""
    kept = recipe_config(config)
    method = {key: value for key, value in kept["method"].items() if key not in _RATES}
    training = config["training"]
    sizes = [training.get(key) for key in ("batch_size", "micro_batch_size", "batching", "gradient_checkpointing")]
    sizes += [training.get("fp32_masters", True), training.get("compile", False)]  # what was done before the keys
    sizes += [config["protocol"].get("max_length")]
    names = [data_name(config["task"], config["model"]), *(config[group]["name"] for group in ("scale", "protocol"))]
    backbone = [config["model"].get(key) for key in ("name", "architecture", "dtype", "quantise")]
    return digest([names, method, backbone, sizes])


def observations(records: Iterable[Record]) -> list[Observation]:
    """One per finished record that says what its training or evaluation took."""
    finished = (record for record in records if record["status"] == "finished")
    return [observation(record, step_recipe(record["config"])) for record in finished]


def observation(record: Record, recipe: str) -> Observation:
    """What one finished record tells; ``recipe`` is that of its config, which many records share."""
    config, training, evaluation = record["config"], record["training"] or {}, record["evaluation"] or {}
    work, machine = training.get("work"), machine_name(record["provenance"]["hardware"])
    trained_here = trained_on_one_machine(record)
    answered_here = machine_name((evaluation.get("provenance") or record["provenance"])["hardware"]) == machine
    return Observation(
        run_id=record["run_id"],
        machine=machine,
        data=data_name(config["task"], config["model"]),
        scale=config["scale"]["name"],
        model=config["model"]["name"],
        source=config["model"].get("source", ""),
        method=config["method"]["name"],
        config=config,
        recipe=recipe,
        examples=training.get("epochs", 0.0) * record["data"]["train_examples"],
        tokens=training.get("tokens", 0),
        labels=training.get("label_tokens", 0),
        steps=training.get("steps", 0),
        seconds=training.get("seconds", 0.0) if trained_here else 0.0,
        memory=(training.get("peak_memory_bytes") or None) if trained_here else None,
        answers=evaluation.get("n", 0),
        generated=evaluation.get("tokens_generated"),
        answer_seconds=evaluation.get("seconds", 0.0) if answered_here else 0.0,
        work=Work(**{name: work[name] for name in WORK}) if work else None,
        tensor_bytes=work["tensor_bytes"] if work else 0.0,
        is_whole="computed_once_up_to" not in record["data"]["remarks"],
    )


def by_kind(seen: Iterable[Observation]) -> dict[tuple[str, str], list[Observation]]:
    """The trained runs of each machine and kind (see :func:`step_recipe`) whose work is what a step counts."""
    kinds: dict[tuple[str, str], list[Observation]] = {}
    for one in seen:
        if one.steps and one.seconds and one.examples and one.is_whole:
            kinds.setdefault((one.machine, one.recipe), []).append(one)
    return kinds


def point(kind: Sequence[Observation]) -> Point | None:
    """What the runs of one kind tell about their machine, by the median; None if their records hold no work."""
    counted = next((one for one in kind if one.work is not None), None)
    if counted is None or counted.work is None:
        return None
    memories = [one.memory for one in kind if one.memory]
    seconds = median(one.seconds / one.steps for one in kind)
    return Point(counted.work, seconds, counted.tensor_bytes, median(memories) if memories else None, counted.method)
