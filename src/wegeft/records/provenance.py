"""What surrounded a run: the code's commit, the lock file, package versions and origins, the machine.

Everything here is read, nothing is decided, and a missing tool gives null rather than a failure: a copy of
the project without git still makes records. File names of uncommitted changes are counted, not kept, and
paths under the environment or the home folder are shortened, so that a record can be published. Does not:
hash data or configs.
"""

import hashlib
import importlib.util
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

PACKAGE_ROOT = Path(__file__).resolve().parents[1]
PROJECT_ROOT = PACKAGE_ROOT.parents[1]
LOCK_FILES = ("requirements.lock", "uv.lock", "pylock.toml")
# Generated or published numbers: no run reads them, and a sweep writes them while it runs.
NOT_CODE = ("results", "runs", "outputs")
# In the root of a snapshot (`wegeft.cluster.snapshot`): the state of git when it was taken and the hash of every file.
SNAPSHOT_FILE = "SNAPSHOT.json"
# What a result can depend on. The origin matters as much as the version: a vendored fork imported in place of
# the released package has made whole tables irreproducible (LLM-Adapters issue 26).
KEY_PACKAGES = (
    "accelerate",
    "bitsandbytes",
    "datasets",
    "hydra-core",
    "lm-eval",
    "math-verify",
    "numpy",
    "peft",
    "safetensors",
    "timm",
    "tokenizers",
    "torch",
    "torchao",
    "torchvision",
    "transformers",
)
_MODULE_OF = {"hydra-core": "hydra", "lm-eval": "lm_eval", "math-verify": "math_verify"}


def collect_provenance(command: Sequence[str]) -> dict[str, Any]:
    """The ``provenance`` object of a record.

    Args:
        command: the command line that repeats the run, program first.

    Returns:
        Keys ``command``, ``git`` (or None outside a checkout), ``lock_files``, ``packages``, ``python``,
        ``platform`` and ``hardware``; shapes in ``schema.json``.
    """
    return {
        "command": [str(part) for part in command],
        "git": snapshot_state(PROJECT_ROOT) or git_state(PACKAGE_ROOT),
        "lock_files": lock_files(PROJECT_ROOT),
        "packages": packages(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "hardware": hardware(),
    }


def own_command() -> list[str]:
    """The command line that repeats this very run; for one run of a sweep that is not the command of the sweep."""
    if HydraConfig.initialized():
        return ["run.py", *HydraConfig.get().overrides.task]
    return list(sys.argv)


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit and uncommitted changes of the checkout that tracks ``folder``; None where there is none.

    Untracked files count as changes, because Python imports them all the same. Files under :data:`NOT_CODE`
    do not. A package installed into an environment that merely lies inside some checkout is not tracked by
    it: None as well.
    """
    if _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    excluded = [f":(top,exclude){name}" for name in NOT_CODE]
    listing = _git(folder, "status", "--porcelain=v1", "--untracked-files=all", "--", ":(top)", *excluded)
    lines = (listing or "").splitlines()
    untracked = sum(line.startswith("??") for line in lines)
    return {
        "commit": commit.strip(),
        "dirty": bool(lines),
        "modified": len(lines) - untracked,
        "untracked": untracked,
    }


def snapshot_state(root: Path) -> dict[str, Any] | None:
    """What :func:`git_state` said when the snapshot at ``root`` was taken; None where ``root`` is no snapshot.

    Files of the snapshot that were changed since count as modified.
    """
    path = root / SNAPSHOT_FILE
    if not path.is_file():
        return None
    facts = json.loads(path.read_bytes())
    state: dict[str, Any] | None = facts["git"]
    changed = sum(_sha256(root / name) != digest for name, digest in facts["files"].items())
    if state is not None and changed:
        state |= {"dirty": True, "modified": state["modified"] + changed}
    return state


def listed_files(root: Path) -> list[str] | None:
    """Names, relative to ``root``, of what git tracks or does not ignore there; None without git."""
    listing = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    return None if listing is None else sorted({name for name in listing.split("\0") if name})


def lock_files(root: Path) -> dict[str, str]:
    """SHA-256 of each lock file in ``root``, by file name."""
    present = [root / name for name in LOCK_FILES if (root / name).is_file()]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in present}


def packages() -> dict[str, dict[str, str | None]]:
    """Version and origin of each of :data:`KEY_PACKAGES`; nothing is imported."""
    return {name: _package(name) for name in KEY_PACKAGES}


def hardware() -> dict[str, Any]:
    """Processor, cores, threads, memory in bytes and accelerator names of this machine."""
    import psutil
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "cpu": _cpu_model(),
        "cores": psutil.cpu_count(logical=False),
        "logical_cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": gpus,
        "cuda": torch.version.cuda,
    }


def shorten(path: str) -> str:
    """``path`` relative to the environment, the project or the home folder, whichever contains it."""
    places = ((sys.prefix, "{environment}"), (str(PROJECT_ROOT), "{project}"), (str(Path.home()), "~"))
    for folder, name in places:
        if path.startswith(folder + os.sep):
            return name + path[len(folder) :]
    return path


def _package(distribution: str) -> dict[str, str | None]:
    """Installed version, and the file that an import of the package would load."""
    try:
        version: str | None = metadata.version(distribution)
    except metadata.PackageNotFoundError:
        version = None
    spec = importlib.util.find_spec(_MODULE_OF.get(distribution, distribution))
    return {"version": version, "file": shorten(spec.origin) if spec and spec.origin else None}


def _cpu_model() -> str:
    """The processor's name as the system gives it; the machine type where it gives none."""
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _sha256(path: Path) -> str | None:
    """The hash of a file; None where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _git(folder: Path, *arguments: str) -> str | None:
    """Standard output of a git command run in ``folder``; None if git is absent or refuses."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
