"""What a job becomes: its log, and the variables of a distributed run."""

from pathlib import Path

import pytest

from wegeft.cluster.slurm import ask, job_id
from wegeft.cluster.start import distributed_environment, log_path
from wegeft.errors import UserError

TASK = {
    "SLURM_JOB_ID": "41007",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_NTASKS": "8",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
    "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.7",
}


def test_the_log_is_in_the_folder_of_the_run_and_names_the_job() -> None:
    folder = Path("runs/0123456789ab")
    assert log_path(folder, slurm="12_3") == folder / "slurm-12_3.log"
    assert log_path(folder, slurm="12_3", rank=2) == folder / "slurm-12_3.rank2.log"
    assert log_path(folder, local="4711") == folder / "local-4711.log"


def test_several_tasks_find_what_torchrun_would_have_set() -> None:
    assert distributed_environment(TASK) == {
        "RANK": "5",
        "LOCAL_RANK": "1",
        "WORLD_SIZE": "8",
        "LOCAL_WORLD_SIZE": "4",
        "MASTER_ADDR": "10.0.0.7",
        "MASTER_PORT": "21007",
    }
    assert distributed_environment(TASK | {"SLURM_NTASKS": "1"}) == {}


def test_a_member_of_an_array_is_named_as_squeue_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    assert job_id() is None
    monkeypatch.setenv("SLURM_JOB_ID", "15")
    assert job_id() == "15"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert job_id() == "12_3"


def test_without_slurm_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="no squeue here"):
        ask("squeue")
