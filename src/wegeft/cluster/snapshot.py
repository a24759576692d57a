"""A copy of the project as it is at submission, which the job runs however the tree changes while it waits.

A snapshot holds what git tracks and what it does not ignore, without results. Its folder is named after its content,
so that jobs with the same code share one. :data:`wegeft.records.provenance.SNAPSHOT_FILE` inside says which commit it
is, and the record repeats that.

Does not: copy the environment; its packages are the ones that are installed when the job runs.
"""

import hashlib
import json
import shutil
import sys
import tempfile
from datetime import datetime
from pathlib import Path

from wegeft.cluster.slurm import job_id
from wegeft.errors import UserError
from wegeft.records.provenance import NOT_CODE, SNAPSHOT_FILE, git_state, listed_files

LARGEST = 200_000_000
"""Bytes of a snapshot; more means that something which is no code is neither tracked nor ignored."""
CODE = ("run.py", "configs", "src", "slurm", "pyproject.toml", "requirements.lock")
"""What a run executes or reads; all that a snapshot holds where git cannot say what belongs to the project."""
FOLDER = Path("runs", "slurm", "snapshots")
"""Where `slurm/run.sbatch` keeps its snapshots, under the project's root."""


def take(root: Path, into: Path) -> Path:
    """Copy the project at ``root`` to a folder in ``into``, unless a snapshot with the same content is there.

    Returns:
        The snapshot's folder, absolute. A ``root`` that is itself a snapshot is returned as it is.

    Raises:
        UserError: more than :data:`LARGEST` bytes would be copied.
    """
    if (root / SNAPSHOT_FILE).is_file():
        return root.resolve()
    names = code_files(root)
    _check_size(root, names)
    hashes = {name: hashlib.sha256((root / name).read_bytes()).hexdigest() for name in names}
    facts = json.dumps({"git": git_state(root / "src" / "wegeft"), "files": hashes}, indent=1, sort_keys=True)
    target = into.resolve() / hashlib.sha256(facts.encode()).hexdigest()[:12]
    if not target.is_dir():
        _copy(root, names, facts, target)
    return target


def code_files(root: Path) -> list[str]:
    """Names, relative to ``root``, of the files that make the project: tracked or not ignored, and no results."""
    names = listed_files(root)
    if not names:  # no git, or a copy inside a checkout that does not know it
        parts = [root / name for name in CODE]
        found = [path for part in parts for path in ([part] if part.is_file() else part.rglob("*"))]
        names = [str(path.relative_to(root)) for path in found if "__pycache__" not in path.parts]
    return sorted(name for name in names if Path(name).parts[0] not in NOT_CODE and (root / name).is_file())


def changed_since(root: Path, moment: float) -> str | None:
    """The first file of :data:`CODE` in ``root`` written more than a second after ``moment`` (seconds since 1970)."""
    names = (name for name in code_files(root) if Path(name).parts[0] in CODE)
    return next((name for name in names if (root / name).stat().st_mtime > moment + 1), None)


def for_this_job(root: Path, submitted: str) -> Path:
    """The snapshot that a job submitted with `sbatch slurm/run.sbatch` runs: taken at its first start, then kept.

    Args:
        root: the project, in which the job was submitted.
        submitted: the local time of submission as `squeue` gives it, ``2026-01-31T12:00:00``.

    Raises:
        UserError: a file was changed between submission and first start, so the code of then is not there any more.
    """
    link = root / FOLDER / f"job-{job_id()}"
    if not link.exists():
        changed = changed_since(root, datetime.fromisoformat(submitted).astimezone().timestamp())
        if changed is not None:
            raise UserError(
                f"{changed} was changed after this job was submitted, so it was not run; submit it again, or let "
                "`python run.py -m hydra/launcher=slurm` submit it, which keeps the code of the moment."
            )
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(take(root, link.parent))
    return link.resolve()


def _check_size(root: Path, names: list[str]) -> None:
    sizes = {name: (root / name).stat().st_size for name in names}
    if sum(sizes.values()) > LARGEST:
        largest = max(sizes, key=lambda name: sizes[name])
        raise UserError(
            f"A snapshot of the code would hold {sum(sizes.values()) / 1e6:,.0f} MB, at most {LARGEST / 1e6:,.0f} MB "
            f"are sensible; name what is no code in .gitignore, {largest} first."
        )


def _copy(root: Path, names: list[str], facts: str, target: Path) -> None:
    """Write the snapshot under another name and rename it, so that one that can be seen is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=target.parent, prefix="."))
    draft.chmod(0o755)
    try:
        for name in names:
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, draft / name)
            (draft / name).chmod((draft / name).stat().st_mode & ~0o222)  # nobody should edit what jobs run
        (draft / SNAPSHOT_FILE).write_text(facts, encoding="utf-8")
        draft.rename(target)
    except OSError:
        shutil.rmtree(draft)
        if not target.is_dir():  # else another submission was faster, with the same content
            raise


if __name__ == "__main__":
    try:
        print(for_this_job(Path.cwd(), sys.argv[1]))
    except UserError as refusal:
        print(f"error: {refusal}", file=sys.stderr)
        raise SystemExit(2) from refusal
