"""The test cluster that `make test-slurm` starts, and a copy of the project to submit from.

Tests of this folder submit jobs to a real SLURM. They take nothing but the cluster of slurm/testbed/, which
WEGEFT_TESTBED names, so that they never submit to one that people use.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.slurm.testbed import Testbed
from wegeft.cluster.snapshot import code_files


@pytest.fixture(scope="session")
def testbed() -> Testbed:
    """The running test cluster."""
    folder = os.environ.get("WEGEFT_TESTBED")
    if folder is None:
        pytest.skip("no test cluster of SLURM is running: make test-slurm starts one")
    os.environ["SLURM_CONF"] = f"{folder}/slurm.conf"
    os.environ["WEGEFT_PYTHON"] = sys.executable
    return Testbed()


@pytest.fixture(scope="module")
def project(testbed: Testbed, project_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A committed copy of the project, to change while its jobs are queued."""
    del testbed  # without one there is nothing to submit to
    copy = tmp_path_factory.mktemp("project")
    for name in code_files(project_root):
        if name.partition("/")[0] in (
            "run.py",
            "configs",
            "scripts",
            "src",
            "slurm",
            ".gitignore",
            "requirements.lock",
        ):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((project_root / name).read_bytes())
    git = ["git", "-C", str(copy), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "as it is submitted"]):
        subprocess.run([*git, *arguments], check=True)
    return copy
