"""Putting the outcome of a run together as a record (``schema.json`` says what each part means).

Does not: write it, or compute anything but counts and shares.
"""

import hashlib
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wegeft.evaluation.samples import read_samples
from wegeft.models import count_parameters
from wegeft.records.outcomes import pack, pick_examples
from wegeft.records.store import SCHEMA_VERSION, Record
from wegeft.training.watch import is_diverging

if TYPE_CHECKING:
    from wegeft.evaluation.result import Evaluation
    from wegeft.methods.base import Method
    from wegeft.tasks import Task
    from wegeft.tasks.prepared import FirstPrompt, Prepared
    from wegeft.training.result import TrainingResult

NOT_JUDGED, BATCH_SIZE, PROVENANCE = "not_judged", "batch_size", "provenance"
OF_AN_EVALUATION = (NOT_JUDGED, BATCH_SIZE, PROVENANCE, "test_prompts_too_long")
"""Remarks about answers and how they were made: the first three only while the answers wait for a judge."""

CURVE_POINTS = 500
"""Most points of the loss curve that a record keeps; a longer curve is thinned evenly, its last point kept."""


def assemble(
    *,
    identity: str,
    config: Mapping[str, Any],
    hyper_parameters: Mapping[str, Any],
    provenance: dict[str, Any],
    backbone: Mapping[str, str],
    task: "Task",
    prepared: "Prepared[Any]",
    counts: dict[str, Any],
    training: "TrainingResult | None",
    work: Mapping[str, float] | None,
    evaluation: "Evaluation | None",
    failure: str | None,
    adapter: Path | None,
    resources: Mapping[str, int | None],
) -> Record:
    """The record of one run; ``failure`` is the sentence of a diverged one, ``work`` that of a step."""
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": identity,
        "status": "finished" if failure is None else "diverged",
        "error": failure,
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "command": provenance["command"],
        "config": dict(config),
        "hyper_parameters": dict(hyper_parameters),
        "provenance": provenance,
        "backbone": dict(backbone),
        "data": _data(task, prepared),
        "prompt": _prompt(prepared.first_prompt),
        "parameters": counts,
        "training": None if training is None else _training(training, work, len(prepared.train_items)),
        "evaluation": None if evaluation is None else _evaluation(evaluation),
        "resources": dict(resources),
        "adapter": None if adapter is None else _adapter(adapter),
    }


def evaluated_again(known: Record, new: Record) -> Record:
    """The record ``known`` of a training with the evaluation of ``new``, which was made apart from it.

    What was trained, by which code and where stays as it was; the evaluation says so for itself, or the remarks where
    its answers wait for a judge.
    """
    remarks = {name: said for name, said in known["data"]["remarks"].items() if name not in OF_AN_EVALUATION}
    remarks |= new["data"]["remarks"]
    if new["evaluation"] is None:
        evaluation, remarks[PROVENANCE] = None, new["provenance"]
    else:
        evaluation = {**new["evaluation"], PROVENANCE: new["provenance"]}
    return {**known, "created": new["created"], "data": {**known["data"], "remarks": remarks}, "evaluation": evaluation}


def parameters(method: "Method", backbone_parameters: int) -> dict[str, Any]:
    """Trainable counts of an attached, unmerged ``method`` and their shares.

    Both denominators, because published tables use either: the backbone alone, and with what the method added. A task's
    head counts nowhere, as in the published tables; ``backbone_parameters`` include it.
    """
    trainable = method.parameter_count()
    head = sum(p.numel() for name, p in method.trainable().items() if method.in_head(name))
    backbone = backbone_parameters - head
    denominators = {
        "backbone": backbone,
        "backbone_plus_adapter": count_parameters(method.backbone) - head,
    }
    return {
        "trainable": trainable,
        "head": head,
        "backbone": backbone,
        "denominators": denominators,
        "percent": {name: 100 * trainable / count for name, count in denominators.items()},
    }


def _data(task: "Task", prepared: "Prepared[Any]") -> dict[str, Any]:
    summary = task.data_summary()
    return {
        "hashes": task.content_hashes(),
        "train_examples": len(prepared.train_items),
        "test_examples": {key.removesuffix("/test"): s.rows for key, s in summary.items() if key.endswith("/test")},
        "expected_rows": {key: part.expected for key, part in summary.items()},
        "remarks": prepared.remarks(),
    }


def _prompt(first: "FirstPrompt | None") -> dict[str, Any] | None:
    if first is None:
        return None
    return {"text": first.text, "input_ids": list(first.input_ids), "special_tokens": first.special_tokens}


def _training(result: "TrainingResult", work: Mapping[str, float] | None, items: int) -> dict[str, Any]:
    interrupted = {"parts": result.parts} if len(result.parts) > 1 else {}
    return {
        **interrupted,
        "steps": result.steps,
        "epochs": result.examples / items,
        "tokens": result.tokens,
        "label_tokens": result.units,
        "seconds": result.seconds,
        "tokens_per_second": result.tokens / result.seconds if result.seconds else None,
        "final_loss": result.loss_curve[-1][1] if result.loss_curve else None,
        "diverging": is_diverging([loss for _, loss, _ in result.loss_curve]),
        "loss_curve": thin([[step, loss] for step, loss, _ in result.loss_curve]),
        "peak_memory_bytes": result.peak_memory_bytes,
        "work": None if work is None else dict(work),
    }


def thin(curve: list[list[float]]) -> list[list[float]]:
    """At most :data:`CURVE_POINTS` points of ``curve``, evenly spaced, the last one kept."""
    stride = max(1, -(-len(curve) // CURVE_POINTS))
    return curve[-1::-stride][::-1]


def _evaluation(evaluation: "Evaluation") -> dict[str, Any]:
    """The scores, with the outcome of every question where the answers were kept."""
    part = evaluation.as_record()
    if evaluation.samples_path is not None:
        samples = read_samples(evaluation.samples_path)
        part |= {"outcomes": pack(samples), "examples": pick_examples(samples)}
    return part


def _adapter(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def command_line(record: Record) -> str:
    """The command of ``record`` as one would type it."""
    return shlex.join(record["command"])
