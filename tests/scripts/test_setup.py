"""What `make setup` says where it cannot make an environment: one sentence, and nothing written.

That it works where it can is shown by every run of the tests from a fresh clone.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def checkout(project_root: Path, tmp_path: Path) -> Path:
    (tmp_path / "scripts").mkdir()
    shutil.copy(project_root / "scripts" / "setup.sh", tmp_path / "scripts")
    return tmp_path


def refusal(checkout: Path, python: str) -> str:
    done = subprocess.run(
        ["sh", "scripts/setup.sh"],
        cwd=checkout,
        env={"PATH": "/usr/bin:/bin", "PYTHON": python},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert not (checkout / ".venv").exists()
    return done.stderr


def interpreter(checkout: Path, script: str) -> str:
    path = checkout / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_no_python(checkout: Path) -> None:
    assert refusal(checkout, "python-that-is-not-there") == (
        "setup: 'python-that-is-not-there' is not there; install Python 3.11 or later, "
        "or name one: make setup PYTHON=/path/to/python\n"
    )


def test_python_too_old(checkout: Path) -> None:
    python = interpreter(checkout, '[ "$1" = --version ] && echo Python 3.10.12 && exit; exit 1')
    assert refusal(checkout, python) == (
        f"setup: '{python}' is Python 3.10.12, and 3.11 or later is needed: make setup PYTHON=/path/to/python\n"
    )


def test_python_without_venv(checkout: Path) -> None:
    python = interpreter(checkout, f'case $2 in *ensurepip*) exit 1 ;; esac; exec {sys.executable} "$@"')
    assert refusal(checkout, python) == (
        f"setup: '{python}' cannot make virtual environments; on Debian or Ubuntu: apt-get install python3-venv\n"
    )
