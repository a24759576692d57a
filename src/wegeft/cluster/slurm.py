"""Asking SLURM, and what it calls the job that this process belongs to.

Does not: submit, or interpret what SLURM answers.
"""

import os
import subprocess

from wegeft.errors import UserError

PATIENCE_S = 60
"""Seconds to wait for an answer of a busy controller."""


def ask(*command: str) -> str:
    """Standard output of a SLURM command.

    Raises:
        UserError: there is no SLURM here, or it refuses; the sentence holds what it said.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    except FileNotFoundError as error:
        raise UserError(
            f"There is no {command[0]} here; hydra/launcher=slurm needs a machine of the cluster."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{command[0]} has not answered within {PATIENCE_S} s.") from error
    if done.returncode != 0:
        raise UserError(f"{command[0]} refused: {' '.join(done.stderr.split())}")
    return done.stdout


def job_id() -> str | None:
    """This job's id as `squeue` shows it (``123`` or, in an array, ``123_4``); None outside of a job."""
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{index}" if array is not None else os.environ.get("SLURM_JOB_ID")
