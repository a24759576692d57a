"""Download a task's data files: ``python scripts/fetch_data.py commonsense --root data``, then ``data.root=data``.

Rows come from the LLM-Adapters repository into the same layout below ``--root``, split files of image tasks from the
official code, images from their authors where they can be had without asking (CUB, Flowers, Dogs); for the others the
place is printed. An interrupted download goes on where it stopped, and a file is put in place only when its rows can be
read and their number is the published one (and its SHA-256, where one is known). An archive of images is unpacked once
its MD5 is the known one. What is already there and whole is left alone.

Does not: accept anything for you (the licences are printed), or fetch models.
"""

import argparse
import hashlib
import http.client
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from wegeft.errors import UserError
from wegeft.progress import Advance, progress
from wegeft.tasks.image_files import read_split
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
SPLITS_URL = "https://raw.githubusercontent.com/savadikarc/gift/0264614ab88944a84dbe1ab5e5d1aa05ddfcab69/data"
SPLITS_LICENCE = (
    "Split files: the official code of WeGeFT, MIT. The images belong to others and are for non-commercial research: "
    "read the terms of the set before you use them."
)
IMAGES = {
    "cub": "www.vision.caltech.edu/datasets/cub_200_2011",
    "nabirds": "dl.allaboutbirds.org/nabirds",
    "flowers": "www.robots.ox.ac.uk/~vgg/data/flowers/102",
    "dogs": "vision.stanford.edu/aditya86/ImageNetDogs",
    "cars": "www.kaggle.com/datasets/jessicali9530/stanford-cars-dataset",
}
"""Where people are asked for the terms of each set of images."""


@dataclass(frozen=True)
class Archive:
    """A tar archive of images.

    Attributes:
        url: where it lies.
        md5: of its bytes, as data set loaders check it.
        inside: folder in the archive with the images; nothing else is unpacked.
        folder: below ``--root``, where to unpack it.
    """

    url: str
    md5: str
    inside: str
    folder: str


ARCHIVES = {
    "cub": Archive(
        "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
        "97eceeb196236b17998738112f37df78",
        "CUB_200_2011/images",
        ".",
    ),
    "flowers": Archive(
        "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/102flowers.tgz",
        "52808999861908f626f3c1f4e79d11fa",  # as in torchvision
        "jpg",
        "oxford_flowers",
    ),
    "dogs": Archive(
        "http://vision.stanford.edu/aditya86/ImageNetDogs/images.tar",
        "1bb1f2a596ae7057f99d7d75860002ef",
        "Images",
        "stanford_dogs",
    ),
}
"""Images that can be fetched without a form or an account."""
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
SPLITS_SHA256 = {
    "cub/train.json": "2c8e8a0e70795ab5a992b51d3ab09aa2621b75bb7b34bb46fef0f910b3261f2d",
    "cub/val.json": "d2bdc9030fe8682bb8a44fca9d44b7255f641195ac1a77d5f7431ed14d343f81",
    "cub/test.json": "1fcf560553e94b5e56681a3981d90462de91ab4ba2dd6a2a99e1e3ff71993b6e",
    "nabirds/train.json": "3dd8255ee2fdfa21b453585b106bf52bce2245aed5fbef1329f85cbd48f5b1ea",
    "nabirds/val.json": "5827a289857766c2e60d77c76190555affacdc9f91cad0a851357721396f514b",
    "nabirds/test.json": "ef6e55ec7c5e1b4cad6cabd790c595553e875dd2f7b5938694a328d4b948c69d",
    "oxfordflowers/train.json": "045ea598b0de30d57a543e04d42f3f4852249fd523503eae10a7d685f91b93d1",
    "oxfordflowers/val.json": "bc77a0c0ddbba21338bc481ae9fca5a67a3b3660d0ad6e7829c2e56240bcf985",
    "oxfordflowers/test.json": "da9fc987debf0617d5093462b9d18bdce01faf76e4bc5fd66a52c74c94fbd7bf",
    "stanforddogs/train.json": "d9bfb65dc50f8e164d2b0d5195baf495c2f2fb184e42d9d774dbf90f4f76e836",
    "stanforddogs/val.json": "d9a1ebbbc6299bc80d2570c9171ba1d9ab7c8ff869f6dc54232288a6b49b97c1",
    "stanforddogs/test.json": "aed81b99b13be6ef9196bdb100c66eec0f277bc715bc9f015a2648e3fd9eb42d",
    "stanfordcars/train.json": "abcbb724f857a73aa9b367dd809f04bfdf52324426de15c376abb459cb6784e7",
    "stanfordcars/val.json": "2ec20bb97f1ceb2a92a0073126ff8ca3ed83212661bd1362448acbad59cedd2e",
    "stanfordcars/test.json": "161f18a664fa690cd24538864816bc0fb10854ab92beec17be25c4eef7ffb434",
}
"""SHA-256 of the official split files."""


@dataclass(frozen=True)
class RemoteFile:
    """One file to fetch.

    Attributes:
        path: below the base URL, and below ``--root``.
        rows: published number of rows; None if unknown.
        sha256: of the original bytes; None if unknown.
        url: where it lies, if not at ``path`` below the base URL.
        count: number of its rows; raises if one of them cannot be read.
    """

    path: str
    rows: int | None
    sha256: str | None
    url: str | None = None
    count: Callable[[Path, bytes], int] = lambda path, content: len(parse_rows(path, content))


class Interrupted(Exception):
    """The connection ended before the file did; what came is kept."""


def main(arguments: Sequence[str] | None = None, configs: Path = CONFIGS, pause_seconds: float = 2.0) -> int:
    """Fetch every file of one task; returns the exit code."""
    tasks = configs / "task"
    found = {path.relative_to(tasks).with_suffix("").as_posix(): path for path in tasks.rglob("*.yaml")}
    known = {name: path for name, path in sorted(found.items()) if files_of(path)}
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("task", choices=known)
    parser.add_argument("--root", type=Path, default=Path("data"), help="folder to fill (default: %(default)s)")
    parser.add_argument("--base-url", default=BASE_URL, help="where the files lie (default: %(default)s)")
    options = parser.parse_args(arguments)
    task: Any = OmegaConf.load(known[options.task])
    subset = task.get("subset")
    print(LICENCES if subset is None else SPLITS_LICENCE)
    files = files_of(known[options.task])
    try:
        for file in files:
            print(f"{file.path}: {fetch(file, options.base_url, options.root, pause_seconds)}")
        missing = 0 if subset is None else fetch_images(task, files, options.root, pause_seconds)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if missing:
        place = options.root / task.source.images
        print(f"{missing:,} images are missing from {place}; they are to be had at https://{IMAGES[subset]}")
    else:
        print(f"All files are there; run with data.root={options.root.resolve()}")
    return 0


def fetch_images(task: Any, files: Sequence[RemoteFile], root: Path, pause_seconds: float) -> int:
    """Fetch the images of a set where that is possible; returns how many that its split ``files`` name are missing."""
    images = root / task.source.images

    def missing() -> int:
        named = {path for file in files for path in read_split(root / file.path)}
        return sum(not (images / path).is_file() for path in named)

    count, archive = missing(), ARCHIVES.get(task.subset)
    if count and archive is not None:
        print(f"{task.source.images}: terms and source: https://{IMAGES[task.subset]}")
        print(f"{task.source.images}: {fetch_archive(archive, root, pause_seconds)}")
        count = missing()
        if count:
            raise UserError(f"{archive.url} lacks {count:,} images that the split files name.")
    return count


def fetch_archive(archive: Archive, root: Path, pause_seconds: float) -> str:
    """Download ``archive`` and unpack its images; returns what was done.

    Raises:
        UserError: it cannot be had, or what came is not the known archive.
    """
    part = root / f"{archive.url.rpartition('/')[2]}.part"
    root.mkdir(parents=True, exist_ok=True)
    download(archive.url, part, pause_seconds)
    with part.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != archive.md5:
        part.unlink()  # going on from wrong bytes would never end well
        raise UserError(f"{archive.url} is not the known archive: its MD5 is {found}, not {archive.md5}.")
    with tarfile.open(part) as tar:
        wanted = [one for one in tar if one.isfile() and Path(one.name).is_relative_to(archive.inside)]
        with progress(len(wanted), "unpack") as advance:
            for member in wanted:
                tar.extract(member, root / archive.folder, filter="data")
                advance(1)
    part.unlink()
    return f"fetched and unpacked, {len(wanted):,} images"


def files_of(task_yaml: Path) -> list[RemoteFile]:
    """The files that the task reads at ``scale=paper``, with their published sizes; none for other kinds of task."""
    splits = _splits_of(OmegaConf.load(task_yaml))
    if splits:
        return splits
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


def _splits_of(task: Any) -> list[RemoteFile]:
    """The split files of one of the fine-grained sets; none for anything else."""
    if task.get("subset") not in IMAGES or "split_file" not in task.get("source", {}):
        return []
    template, published = task.source.split_file, task.source.expected_images
    folder = Path(template).parent.name
    return [
        RemoteFile(
            path=template.format(split=split),
            rows=rows,
            sha256=SPLITS_SHA256[f"{folder}/{split}.json"],
            url=f"{SPLITS_URL}/{folder}/{split}.json",
            count=lambda path, _: len(read_split(path)),
        )
        for split, rows in published.items()
    ]


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
    url = file.url or f"{base_url.rstrip('/')}/{file.path}"
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
    rows = file.count(path, content)
    if file.rows is not None and rows != file.rows:
        raise UserError(f"{path} is not the published file: it has {rows} rows, not {file.rows}.")


if __name__ == "__main__":
    raise SystemExit(main())
