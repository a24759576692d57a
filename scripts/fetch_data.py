"""Download a task's data files: ``python scripts/fetch_data.py commonsense --root data``, then ``data.root=data``.

Files come from the LLM-Adapters repository into the same layout below ``--root``. An interrupted download goes on where
it stopped, and a file is put in place only when its rows can be read and their number is the published one (and its
SHA-256, where one is known). Files that are already there and whole are left alone.

Does not: accept anything for you (the licences are printed), or fetch models.
"""

import argparse
import hashlib
import http.client
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from wegeft.errors import UserError
from wegeft.progress import Advance, progress
from wegeft.tasks.sources import parse_rows

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
BASE_URL = "https://raw.githubusercontent.com/AGI-Edgerunners/LLM-Adapters/main"
LICENCES = (
    "LLM-Adapters (Hu et al., EMNLP 2023): code Apache-2.0, data ODC-By. Each question set keeps the licence of its "
    "own authors: BoolQ CC BY-SA 3.0, HellaSwag MIT, WinoGrande CC BY, ARC CC BY-SA 4.0, OpenBookQA Apache-2.0; PIQA "
    "and SocialIQA come with terms of their own. Check them before you pass the files on."
)
SOURCE = "wegeft.tasks.sources.LLMAdaptersFiles"
"""The kind of source whose files lie in that repository."""
ATTEMPTS = 5
TIMEOUT_SECONDS = 30.0
CHUNK_BYTES = 1 << 16

SHA256 = {
    "dataset/ARC-Challenge/test.json": "4a89ce368ae01a71d268d9851686738b2a0a1d84271116bab49a1dd2b48ecad7",
    "dataset/ARC-Easy/test.json": "3f32a84716ca6d57d38728bf80cc8117aecd17445c2cf29a68b571b810eb82dc",
    "dataset/boolq/test.json": "89df2397cbca81dc31adcc6f7f5b635821aa0565aafde46725b2b4bd39b4dfa9",
    "dataset/openbookqa/test.json": "8479930f7b8a26052c78250280b5465a4016ca7fc806af440d0f37e243f3099e",
    "dataset/piqa/test.json": "3860d11b9b42e590b6b4bbc1643214d373ed0b0d4ac62fcc7bdceb8e044ad141",
    "dataset/social_i_qa/test.json": "71543f41127451945379d106ffedaef502f1c8770dff6d2f543aca85e3080b1d",
    "dataset/winogrande/test.json": "6946f5209e7114c65c6d04f8f644c5a061af20d730b1cfe158fff3dc44076fb9",
}
"""SHA-256 of the files whose original bytes are known (LLM-Adapters at commit 816657208af4)."""


@dataclass(frozen=True)
class RemoteFile:
    """One file to fetch.

    Attributes:
        path: below the base URL, and below ``--root``.
        rows: published number of rows; None if unknown.
        sha256: of the original bytes; None if unknown.
    """

    path: str
    rows: int | None
    sha256: str | None


class Interrupted(Exception):
    """The connection ended before the file did; what came is kept."""


def main(arguments: Sequence[str] | None = None, configs: Path = CONFIGS, pause_seconds: float = 2.0) -> int:
    """Fetch every file of one task; returns the exit code."""
    known = sorted(path.stem for path in (configs / "task").glob("*.yaml") if files_of(path))
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("task", choices=known)
    parser.add_argument("--root", type=Path, default=Path("data"), help="folder to fill (default: %(default)s)")
    parser.add_argument("--base-url", default=BASE_URL, help="where the files lie (default: %(default)s)")
    options = parser.parse_args(arguments)
    print(LICENCES)
    try:
        for file in files_of(configs / "task" / f"{options.task}.yaml"):
            print(f"{file.path}: {fetch(file, options.base_url, options.root, pause_seconds)}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"All files are there; run with data.root={options.root.resolve()}")
    return 0


def files_of(task_yaml: Path) -> list[RemoteFile]:
    """The files that the task reads at ``scale=paper``, with their published sizes; none for other kinds of task."""
    config = OmegaConf.create({"scale": {"name": "paper"}, "task": OmegaConf.load(task_yaml)})
    source = OmegaConf.select(config, "task.sources.paper", default={})
    if source.get("_target_") != SOURCE:
        return []
    parts = [(subset, "train") for subset in config.task.train_subsets]
    parts += [(subset, "test") for subset in config.task.test_subsets]
    files = []
    for subset, split in parts:
        path = source[f"{split}_file"].format(subset=subset)
        files.append(RemoteFile(path, source.expected_rows.get(f"{subset}/{split}"), SHA256.get(path)))
    return files


def fetch(file: RemoteFile, base_url: str, root: Path, pause_seconds: float) -> str:
    """Bring one file to ``root``; returns what was done.

    Raises:
        UserError: it cannot be had, or what came is not the published file.
    """
    target = root / file.path
    if target.is_file():
        check(file, target)
        return "already there"
    part = target.with_name(target.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    url = f"{base_url.rstrip('/')}/{file.path}"
    download(url, part, pause_seconds)
    try:
        check(file, part)
    except UserError:
        part.unlink()  # going on from wrong bytes would never end well
        raise
    part.replace(target)
    return f"fetched, {target.stat().st_size:,} bytes"


def download(url: str, part: Path, pause_seconds: float) -> None:
    """Append to ``part`` until it holds the whole of ``url``; a broken connection is taken up again where it broke.

    Raises:
        UserError: the server refuses, or five attempts in a row brought nothing.
    """
    idle = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _continue(url, part)
            return
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise UserError(f"{url} cannot be fetched: HTTP {error.code} {error.reason}.") from error
            reason = str(error)
        except (Interrupted, OSError, http.client.HTTPException) as error:
            reason = str(error)
        grown = part.exists() and part.stat().st_size > before
        idle = 0 if grown else idle + 1
        if idle >= ATTEMPTS:
            raise UserError(
                f"{url} cannot be fetched ({reason}); is there a network? What has arrived is kept, and the same "
                "command goes on from there."
            )
        time.sleep(pause_seconds * idle)


def _continue(url: str, part: Path) -> None:
    """One connection: ask for what is missing from ``part`` and append what comes."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if have and error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is missing: the last connection ended right after the last byte
        raise
    with response:
        resumed = response.status == http.client.PARTIAL_CONTENT
        missing = response.headers.get("Content-Length")
        with part.open("ab" if resumed else "wb") as file, progress(int(missing or 0), part.stem) as advance:
            received = _copy(response, file, advance)
    if missing is not None and received < int(missing):
        raise Interrupted(f"the connection ended after {received:,} of {int(missing):,} bytes")


def _copy(response: http.client.HTTPResponse, file: Any, advance: Advance) -> int:
    received = 0
    while chunk := response.read1(CHUNK_BYTES):
        file.write(chunk)
        received += len(chunk)
        advance(len(chunk))
    return received


def check(file: RemoteFile, path: Path) -> None:
    """Refuse a file that is not the published one.

    Raises:
        UserError: a row that cannot be read, another number of rows, or another SHA-256.
    """
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if file.sha256 is not None and found != file.sha256:
        raise UserError(f"{path} is not the published file: its SHA-256 is {found}, not {file.sha256}.")
    rows = len(parse_rows(path, content))
    if file.rows is not None and rows != file.rows:
        raise UserError(f"{path} is not the published file: it has {rows} rows, not {file.rows}.")


if __name__ == "__main__":
    raise SystemExit(main())
