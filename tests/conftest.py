"""What every test stands on: one thread, no network, a working folder of its own, and the real benchmark files.

Fixtures that only one part of the suite needs live beside that part.
"""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

# Read by the libraries when they are first imported, so they are set before any of them is.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "offline"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch

from tests.parsed_once import parse_config_files_once

ROOT = Path(__file__).resolve().parents[1]

torch.set_num_threads(1)
parse_config_files_once()


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The root of the repository, to read from; tests write to `tmp_path`."""
    return ROOT


@pytest.fixture(autouse=True)
def _work_in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what a test writes to a relative path fall outside the repository."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """`once(NAME, FILL)`: a folder that the first who asks fills; the worker processes of pytest-xdist share it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def make(name: str, fill: Callable[[Path], None]) -> Path:
        folder, unfinished = shared / name, shared / f"{name}.unfinished"
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                shutil.rmtree(unfinished, ignore_errors=True)
                unfinished.mkdir()
                fill(unfinished)
                unfinished.rename(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the published benchmark files: WEGEFT_REAL_DATA, or `shared/data` beside the repository."""
    folder = Path(os.environ.get("WEGEFT_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the published benchmark files are not here: set WEGEFT_REAL_DATA (looked in {folder})")
    return folder
