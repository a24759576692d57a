"""Runs that a real SLURM disturbs in mid-training end with the record of one that was left alone.

Each is submitted without a launcher, `sbatch slurm/run.sbatch`, on the second node of the test cluster.
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.slurm.testbed import (
    Testbed,
    results,
    the_record,
    undisturbed,
    wait_until,
)
from wegeft.records.store import Record

pytestmark = pytest.mark.slurm

NODE = "n2"
# Long enough to be met in the middle, with a checkpoint every few steps to see that it is there.
RUN = ("training.max_steps=120", "training.batch_size=4", "training.checkpoint_every=5", "evaluation.limit=1")


@pytest.fixture(scope="module")
def reference(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Record:
    return undisturbed(project, tmp_path_factory.mktemp("undisturbed"), *RUN)


class Case:
    """One run in a folder of its own."""

    def __init__(self, testbed: Testbed, project: Path, folder: Path) -> None:
        self.testbed, self.project, self.folder = testbed, project, folder
        self.runs, self.records = folder / "runs", folder / "records"

    def submit(self, *options: str) -> str:
        places = (f"output_dir={self.runs}", f"records_dir={self.records}")
        return self.testbed.submit(self.project, *RUN, *places, options=(f"--nodelist={NODE}", *options))

    def until_training(self) -> int:
        """Wait for a checkpoint; returns its step."""
        wait_until(self.step, "a checkpoint")
        return self.step()

    def step(self) -> int:
        """The step of the newest checkpoint; 0 without one."""
        stems = [path.stem for path in self.runs.glob("*/checkpoints/step-*.json")]
        return max((int(stem.removeprefix("step-")) for stem in stems), default=0)

    def until_over(self, job: str) -> None:
        wait_until(lambda: self.testbed.state(job) in ("COMPLETED", "FAILED", "CANCELLED"), f"the end of job {job}")

    def log(self, job: str) -> str:
        (log,) = self.runs.glob(f"*/slurm-{job}.log")
        return log.read_text()


@pytest.fixture
def case(testbed: Testbed, project: Path, tmp_path: Path) -> Case:
    return Case(testbed, project, tmp_path)


def requeue(case: Case, job: str) -> None:
    case.testbed.ask("scontrol", "requeue", job)


def preempt(case: Case, job: str) -> None:
    """A job of a more important partition takes the whole node for two seconds."""
    del job
    case.testbed.ask(
        "sbatch", "--partition=high", "--exclusive", f"--nodelist={NODE}", "--output=/dev/null", "--wrap=sleep 2"
    )


def lose_the_node(case: Case, job: str) -> None:
    """The node goes down with the job on it, and comes back."""
    case.testbed.ask("scontrol", "update", f"nodename={NODE}", "state=down", "reason=test")
    wait_until(lambda: case.testbed.state(job) == "PENDING", "the requeueing of the job of a lost node")
    case.testbed.ask("scontrol", "update", f"nodename={NODE}", "state=resume")


@pytest.mark.parametrize("disturb", [requeue, preempt, lose_the_node])
def test_a_run_that_slurm_requeues_goes_on(case: Case, reference: Record, disturb: Callable[[Case, str], None]) -> None:
    job = case.submit()
    assert case.until_training() < 120
    disturb(case, job)
    case.until_over(job)
    assert int(case.testbed.shown(job)["Restarts"]) >= 1
    assert case.testbed.state(job) == "COMPLETED"
    record = the_record(case.records)
    assert results(record) == results(reference)
    assert record["training"]["parts"][0]["from_step"] == 0


def freeze_until_warned(case: Case, job: str) -> None:
    """Bring the time limit near and stop the run until SLURM, which looks twice a minute, has warned it.

    So a run is struck in the middle of its training however fast the machine is. SLURM wakes it to be warned.
    """
    (lock,) = case.runs.glob("*/lock")
    process = int(lock.read_text().split()[1])
    os.kill(process, signal.SIGSTOP)
    hours, minutes, _ = case.testbed.shown(job)["RunTime"].split(":")
    limit = 60 * int(hours) + int(minutes) + 2
    case.testbed.ask("scontrol", "update", f"jobid={job}", f"timelimit={limit}")
    wait_until(lambda: case.testbed.state(job) == "PENDING", "the requeueing after the time limit")


def test_a_run_that_its_time_limit_strikes_goes_on(case: Case, reference: Record) -> None:
    job = case.submit("--time=60", "--signal=USR2@60")
    case.until_training()
    freeze_until_warned(case, job)
    case.testbed.ask("scontrol", "update", f"jobid={job}", "timelimit=60")
    assert "stopped after" in case.log(job)
    case.until_over(job)
    assert case.testbed.state(job) == "COMPLETED"
    record = the_record(case.records)
    assert results(record) == results(reference)
    assert record["training"]["parts"][0]["from_step"] == 0


def test_a_cancelled_run_stays_away_and_goes_on_when_it_is_submitted_again(case: Case, reference: Record) -> None:
    job = case.submit()
    case.until_training()
    case.testbed.ask("scancel", job)
    case.until_over(job)
    assert case.testbed.state(job) == "CANCELLED"
    assert "stopped after" in case.log(job)
    assert not case.records.exists()
    again = case.submit()
    case.until_over(again)
    record = the_record(case.records)
    assert results(record) == results(reference)
    assert record["training"]["parts"][0]["from_step"] == 0
