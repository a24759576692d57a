"""Hydra's side of `hydra/launcher=slurm` and `hydra/launcher=submitit_local`; ``wegeft.cluster`` does the work.

Hydra takes launchers only from the namespace ``hydra_plugins``, and imports every module there at each start: nothing
slow may be imported at the top of this one.

Does not: submit a run that has its record or is in the queue already, or wait for a cluster.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

if TYPE_CHECKING:
    from wegeft.cluster.runs import Run
    from wegeft.cluster.submit import Submitted


class _Launcher(Launcher):
    """Checks every run of a sweep, then hands the missing ones over at once; ``options`` are those of the YAML file."""

    def __init__(self, **options: Any) -> None:
        self.options = {
            name: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
            for name, value in options.items()
        }

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra; ``config`` is the sweep's own configuration, without the overrides of a run."""
        del task_function  # a job starts from the command line, so that it runs the code of its snapshot
        self.loader, self.config = hydra_context.config_loader, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Hand the runs over; what is returned says so for each, not what became of it.

        Raises:
            UserError: a run is not valid, then none is submitted; or the runs cannot be submitted.
        """
        del initial_job_idx
        runs = [self._compose(overrides) for overrides in job_overrides]
        missing = [run for run in runs if not run.done]
        if len(missing) < len(runs):
            print(f"{len(runs) - len(missing)} of {len(runs)} runs have their record; force=true runs them again.")
        if missing:
            self.hand_over(missing)
        return [JobReturn(overrides=list(run.overrides), status=JobStatus.COMPLETED) for run in runs]

    def hand_over(self, runs: "list[Run]") -> None:
        """Submit ``runs`` and say so."""
        raise NotImplementedError

    def _compose(self, overrides: Sequence[str]) -> "Run":
        from wegeft.cluster.runs import checked

        composed = self.loader.load_sweep_config(self.config, list(overrides))
        with open_dict(composed):
            del composed["hydra"]
        return checked(composed, overrides)


class SlurmLauncher(_Launcher):
    """Submits the runs as a job array and returns."""

    def hand_over(self, runs: "list[Run]") -> None:
        """As the base class says; runs that are in the queue already are left out."""
        from wegeft.cluster.queue import queued_runs
        from wegeft.cluster.submit import SlurmOptions, to_slurm
        from wegeft.schema import validate

        options = validate(SlurmOptions, self.options, "hydra.launcher")
        queued = {run.run_id for run in queued_runs()}
        new = [run for run in runs if run.run_id not in queued]
        if len(new) < len(runs):
            print(f"{len(runs) - len(new)} of {len(runs)} runs are in the queue already.")
        _show(to_slurm(new, options))


class LocalLauncher(_Launcher):
    """Carries the runs out on this machine, some at a time, and waits for them."""

    def hand_over(self, runs: "list[Run]") -> None:
        """As the base class says; ends with exit code 1 if a run has left no new record, with 3 if one diverged."""
        from wegeft.cluster.submit import LocalOptions, made_here
        from wegeft.exits import DIVERGED
        from wegeft.records.store import read_record
        from wegeft.schema import validate

        over, failed = made_here(runs, validate(LocalOptions, self.options, "hydra.launcher"))
        _show(failed)
        if failed:
            raise SystemExit(f"{len(failed)} of {len(over)} runs have no new record; their logs are named above.")
        if any(read_record(job.run.record)["status"] == "diverged" for job in over):
            raise SystemExit(DIVERGED)


def _show(jobs: "Sequence[Submitted]") -> None:
    """A line per job: its id, its run, the overrides and the log."""
    for job in jobs:
        print(f"{job.job_id}  {job.run.run_id}  {' '.join(job.run.overrides)}  {job.log}")
