"""What a run leaves behind that stopped at a loss or gradient that was not finite: the batch that caused it.

Does not: keep the weights (the last checkpoint holds the trained ones).
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors.torch

from wegeft.files import write_atomically
from wegeft.training.loop import NonFiniteError
from wegeft.training.objective import Batching, Objective

TENSORS, FACTS = "diverged_batch.safetensors", "diverged_batch.json"


def write(folder: Path, error: NonFiniteError, objective: Objective[Any], batching: Batching) -> None:
    """Write the global batch of the step that was not taken, as tensors, and where and why it was not.

    The JSON file holds the number of the step, its loss and gradient norm as text (``nan``, ``inf``), the positions of
    its examples among the training examples, and the steps before it.
    """
    batch = objective.collate(error.batch, batching)
    tensors = {name: tensor.contiguous() for name, tensor in batch.items()}
    write_atomically(folder / TENSORS, safetensors.torch.save(tensors))
    facts = {
        "step": error.result.steps,
        "loss": str(error.loss),
        "gradient_norm": str(error.norm),
        "examples": list(error.indices),
        "before": asdict(error.result),
    }
    write_atomically(folder / FACTS, json.dumps(facts, indent=1).encode())
