"""Whether vLLM can evaluate a run, asked before the run trains.

Does not: load anything.
"""

import shutil
import subprocess
import sys
from importlib.metadata import version

import torch

from wegeft.config import RunConfig
from wegeft.errors import UserError
from wegeft.evaluation.vllm_engine.export import check_export
from wegeft.methods.base import Method
from wegeft.tasks.base import Task
from wegeft.training.distributed import current

NEEDED = ("vllm", "lm_eval")
LOOK = "import importlib.util as u, sys; print(*(name for name in sys.argv[1:] if u.find_spec(name) is None))"


def check(config: RunConfig, task: Task, method: Method, device: torch.device) -> None:
    """Refuse what vLLM cannot do; ``method`` is attached to the architecture on the meta device.

    Raises:
        UserError: the first thing that is missing or does not fit.
    """
    ways = task.decodings()
    if not ways:
        raise UserError(f"evaluation.engine=vllm generates text, and task={task.name} asks for none; choose hf.")
    if not all(way.is_greedy for way in ways):
        raise UserError(
            f"evaluation.engine=vllm answers greedily, and task={task.name} draws tokens, has rules against repetition "
            "or keeps to listed answers (task.listed_answers), which is this suite's own; choose hf."
        )
    if current().size > 1:
        raise UserError(f"evaluation.engine=vllm runs in one process, and this run has {current().size}; choose hf.")
    if config.model.quantise is not None:
        raise UserError(
            f"evaluation.engine=vllm reads plain weights, and model.quantise={config.model.quantise}; choose hf."
        )
    check_export(method, config)
    check_installed(config.evaluation.vllm_python)
    if device.type != "cuda":
        raise UserError(f"evaluation.engine=vllm needs a CUDA device, and this run is on the {device.type}; choose hf.")


def check_installed(python: str | None) -> None:
    """Refuse an environment without vLLM.

    Raises:
        UserError: it is missing there, or the interpreter cannot be started.
    """
    path = interpreter(python)
    if shutil.which(path) is None:
        raise UserError(f"evaluation.vllm_python={python} is not an interpreter of Python.")
    found = subprocess.run([path, "-c", LOOK, *NEEDED], capture_output=True, text=True, check=False)
    missing = found.stdout.split() if found.returncode == 0 else list(NEEDED)
    if missing:
        raise UserError(
            f"evaluation.engine=vllm, but {path} has no {' and no '.join(missing)}: make an environment with "
            f"`pip install vllm lm-eval=={version('lm-eval')}` and set evaluation.vllm_python to its interpreter, "
            "or set evaluation.engine=hf."
        )


def interpreter(python: str | None) -> str:
    """The Python that runs vLLM: the one named, else this one."""
    return python or sys.executable
