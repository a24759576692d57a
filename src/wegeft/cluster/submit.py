"""Submitting runs through submitit: to SLURM as job arrays, or to this machine a few at a time.

Why not through hydra-submitit-launcher, which does the same from inside Hydra:

* its jobs import the code and compose the configuration of the moment they start, not of their submission;
* it waits for every job and asks `sacct`, which hangs for a killed job where there is no accounting;
* submitit's own signal handler, which it uses, ignores SIGTERM and replaces the run's for SIGUSR2, so that a run is
  requeued from its last periodic checkpoint instead of one of the moment, and counts a time-out as a failure at first;
* it can neither name a log after its run nor give `srun` the processors of the job (`srun` has not inherited them from
  `sbatch` since SLURM 22.05), and its local variant starts every job at once.

Here a job of submitit only carries a :class:`~wegeft.cluster.start.Start`, which becomes ``run.py``; what its exit
code means is judged by `slurm/requeue.sh`, the same for a job that was submitted without a launcher.

Does not: decide which runs to submit, or wait for those on a cluster.
"""

import json
import os
import shlex
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import hydra
from omegaconf import OmegaConf
from pydantic import Field

from wegeft.cli import CONFIG_FOLDER, ROOT
from wegeft.cluster import snapshot
from wegeft.cluster.packing import runs_at_once
from wegeft.cluster.runs import Run
from wegeft.cluster.start import JOB_NAME, log_path
from wegeft.errors import UserError
from wegeft.files import write_atomically
from wegeft.schema import TARGET_KEY, Strict, validate

LONGEST_ARRAY = 1000
"""Runs in one array; SLURM's own limit, MaxArraySize, is 1001 unless a site has changed it."""
RUNS_FILE = "runs.json"
"""Run ids of an array in the order of its indices, in the folder of the submission."""
POLL_S = 1.0
"""Seconds between two looks at the runs on this machine."""
NO_LIMIT_MIN = 60 * 24 * 365
"""Minutes that a run on this machine may take; submitit wants a limit."""
LAST_TASK_S = 300
"""Seconds that the other processes of a run may take after the first has ended, before SLURM ends them."""


class SlurmOptions(Strict):
    """``hydra/launcher=slurm``; the YAML file says what each value means."""

    folder: str
    array_parallelism: int = Field(ge=1)
    timeout_min: int = Field(ge=1)
    signal_delay_s: int = Field(ge=0)
    max_requeues: int = Field(ge=0)
    nodes: int = Field(ge=1)
    tasks_per_node: int = Field(ge=1)
    gpus_per_node: int | None = Field(ge=0)
    cpus_per_task: int = Field(ge=1)
    mem_gb: float | None = Field(gt=0)
    partition: str | None
    account: str | None
    qos: str | None
    gres: str | None
    constraint: str | None
    setup: tuple[str, ...]
    additional_parameters: dict[str, Any]


class LocalOptions(Strict):
    """``hydra/launcher=submitit_local``; the YAML file says what each value means."""

    folder: str
    at_once: Annotated[int, Field(ge=1)] | Literal["auto"]
    cpus_per_task: int = Field(ge=1)
    gpus_per_node: int = Field(ge=0)


Options = TypeVar("Options", SlurmOptions, LocalOptions)


@dataclass(frozen=True)
class Submitted:
    """A run that was handed over: the job's id, for SLURM as `squeue` shows it, and where the run will log."""

    job_id: str
    run: Run
    log: Path


def slurm_options(overrides: Sequence[str] = ()) -> SlurmOptions:
    """The options of ``hydra/launcher=slurm`` with ``overrides`` (``hydra.launcher.partition=gpu``).

    Raises:
        UserError: a value is refused. HydraException: a key does not exist.
    """
    return _options(SlurmOptions, "slurm", overrides)


def local_options(overrides: Sequence[str] = ()) -> LocalOptions:
    """The options of ``hydra/launcher=submitit_local``, as :func:`slurm_options`."""
    return _options(LocalOptions, "submitit_local", overrides)


def to_slurm(runs: Sequence[Run], options: SlurmOptions) -> list[Submitted]:
    """Submit ``runs`` as job arrays that run the code of now; returns at once.

    Raises:
        UserError: SLURM is not there or refuses.
    """
    code = snapshot.take(ROOT, Path(options.folder) / "snapshots")
    arrays = [runs[first : first + LONGEST_ARRAY] for first in range(0, len(runs), LONGEST_ARRAY)]
    # The cap is meant for all of the runs together, and SLURM applies it to each array.
    share = max(1, options.array_parallelism // max(1, len(arrays)))
    options = options.model_copy(update={"array_parallelism": share})
    return [job for array in arrays for job in _submit_array(array, options, code)]


def here(runs: Sequence[Run], options: LocalOptions) -> list[Submitted]:
    """Carry out ``runs`` on this machine, ``at_once`` at a time; returns when all are over.

    Each has its own GPUs while there are enough; runs with one GPU each then share them in turn.

    Raises:
        UserError: ``at_once=auto`` and nobody knows what a run takes, or there are fewer GPUs than a run wants.
    """
    at_once = _at_once(runs, options)
    code = snapshot.take(ROOT, Path(options.folder) / "snapshots")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(code / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    os.environ["OMP_NUM_THREADS"] = str(options.cpus_per_task)
    folder = _submission_folder(options.folder)
    places: list[Any] = [None] * at_once
    submitted = []
    for run in runs:
        place = _free_place(places)
        places[place] = _start_here(run, folder, options, place)
        submitted.append(Submitted(places[place].job_id, run, log_path(run.folder, local=places[place].job_id)))
    while any(job is not None and not job.done() for job in places):
        time.sleep(POLL_S)
    return submitted


def made_here(runs: Sequence[Run], options: LocalOptions) -> tuple[list[Submitted], list[Submitted]]:
    """Carry out ``runs`` as :func:`here` does; all of them, and those that left no record or only an earlier one."""
    before = {run.run_id: run.written for run in runs}
    over = here(runs, options)
    return over, [job for job in over if job.run.written in (None, before[job.run.run_id])]


def slurm_parameters(options: SlurmOptions, code: Path, folder: Path) -> dict[str, Any]:
    """What `submitit.AutoExecutor.update_parameters` is told; None leaves a value to the site."""
    requests = ("timeout_min", "nodes", "tasks_per_node", "gpus_per_node", "cpus_per_task", "mem_gb")
    sbatch = ("array_parallelism", "signal_delay_s", "partition", "account", "qos", "gres", "constraint")
    before = [
        f"export PYTHONPATH={shlex.quote(str(code / 'src'))}${{PYTHONPATH:+:$PYTHONPATH}}",
        f"export WEGEFT_MAX_REQUEUES={options.max_requeues}",
        f". {shlex.quote(str(code / 'slurm' / 'job.sh'))}",
    ]
    return {
        "name": JOB_NAME,
        "stderr_to_stdout": True,
        **{name: getattr(options, name) for name in requests},
        **{f"slurm_{name}": getattr(options, name) for name in sbatch},
        "slurm_comment": str(folder / RUNS_FILE),  # where `wegeft.cluster.queue` finds the run of each index
        "slurm_setup": [*options.setup, *before],
        "slurm_srun_args": [f"--wait={LAST_TASK_S}"],
        "slurm_teardown": [f". {shlex.quote(str(code / 'slurm' / 'requeue.sh'))}"],
        "slurm_additional_parameters": {"requeue": True, **options.additional_parameters},
    }


def _submit_array(runs: Sequence[Run], options: SlurmOptions, code: Path) -> list[Submitted]:
    import submitit

    folder = _submission_folder(options.folder)
    write_atomically(folder / RUNS_FILE, json.dumps([run.run_id for run in runs]).encode())
    try:
        # WEGEFT_PYTHON is set by a site's file, e.g. to run in a container.
        executor = submitit.AutoExecutor(folder, cluster="slurm", slurm_python=os.environ.get("WEGEFT_PYTHON"))
        executor.update_parameters(**slurm_parameters(options, code, folder))
        jobs = executor.submit_array([run.start for run in runs])
    except RuntimeError as error:  # there is no srun, or sbatch has refused
        raise UserError(f"The runs cannot be submitted: {' '.join(str(error).split())}") from error
    return [
        Submitted(job.job_id, run, log_path(run.folder, slurm=job.job_id)) for job, run in zip(jobs, runs, strict=True)
    ]


def _start_here(run: Run, folder: Path, options: LocalOptions, place: int) -> Any:
    import submitit

    executor = submitit.LocalExecutor(folder)
    gpus = _gpus_of(place, options.gpus_per_node)
    executor.update_parameters(
        timeout_min=NO_LIMIT_MIN,
        gpus_per_node=options.gpus_per_node,
        visible_gpus=_as_inherited(gpus),
    )
    return executor.submit(run.start)


def _at_once(runs: Sequence[Run], options: LocalOptions) -> int:
    if options.at_once != "auto":
        return options.at_once
    found = runs_at_once(runs, options.gpus_per_node, options.cpus_per_task)
    print(f"{found} runs at once.")
    return found


def _gpus_of(place: int, gpus: int) -> tuple[int, ...]:
    """The GPUs of the run at ``place``: the next ``gpus``; where every GPU has a run, the first is shared."""
    if gpus == 0:
        return ()
    import torch

    found = max(gpus, torch.cuda.device_count())
    first = place % (found // gpus) * gpus
    return tuple(range(first, first + gpus))


def _as_inherited(gpus: tuple[int, ...]) -> tuple[int, ...]:
    """The numbers of ``gpus`` on the machine, where ``CUDA_VISIBLE_DEVICES`` gives this process only some of them.

    submitit, which sets the variable for a run, takes numbers only: GPUs that are given by name keep their place.
    """
    inherited = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    if not all(name.strip().isdecimal() for name in inherited):
        return gpus
    return tuple(int(inherited[gpu]) if gpu < len(inherited) else gpu for gpu in gpus)


def _free_place(places: Sequence[Any]) -> int:
    """The first place whose job is over; waits for one."""
    while True:
        for number, job in enumerate(places):
            if job is None or job.done():
                return number
        time.sleep(POLL_S)


def _options(kind: type[Options], launcher: str, overrides: Sequence[str]) -> Options:
    with hydra.initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        chosen = [f"hydra/launcher={launcher}", *overrides]
        composed = hydra.compose("config", overrides=chosen, return_hydra_config=True)
    values = OmegaConf.to_container(composed.hydra.launcher, resolve=True)
    assert isinstance(values, dict)
    return validate(kind, {str(key): value for key, value in values.items() if key != TARGET_KEY}, "hydra.launcher")


def _submission_folder(parent: str) -> Path:
    """A new folder for the scripts and SLURM's own messages of one submission; absolute."""
    folder = Path(parent).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=folder, prefix=f"{datetime.now(UTC):%Y%m%d-%H%M%S}-"))
