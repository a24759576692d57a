"""One process at a time: who comes second is told so, and nothing is left behind by a kill."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from wegeft.errors import BusyError, StorageError
from wegeft.lock import hold

HOLDER = """
import sys
from pathlib import Path
from wegeft.lock import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    """A process that has the lock, until its standard input is closed."""
    command = [sys.executable, "-c", HOLDER, str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_of_two_processes_is_told_who_is_at_work(tmp_path: Path) -> None:
    with holder(tmp_path / "run") as first:
        with (
            pytest.raises(BusyError, match=rf"^run run is being worked on by process {first.pid} on .* since \d{{4}}-"),
            hold(tmp_path / "run"),
        ):
            pass
        first.communicate()
    assert first.returncode == 0
    with hold(tmp_path / "run"):
        pass


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    with holder(tmp_path / "run") as first:
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert (tmp_path / "run" / "lock").is_file()
    with hold(tmp_path / "run"):
        pass


def test_the_file_goes_with_the_lock_and_takes_an_empty_folder_along(tmp_path: Path) -> None:
    with hold(tmp_path / "empty"):
        pass
    with hold(tmp_path / "used"):
        (tmp_path / "used" / "adapter").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["used", "adapter"]


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(StorageError, match=r"file/run/lock could not be written \(Not a directory\)"),
        hold(tmp_path / "file" / "run"),
    ):
        pass
