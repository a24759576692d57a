"""Fetching data from a server that drops connections: whole files or one clear sentence."""

import gzip
import hashlib
import http.server
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from scripts import fetch_data
from scripts.fetch_data import Archive, RemoteFile, fetch, fetch_archive, fetch_images, files_of, main
from tests.tasks.tiny import row
from wegeft.errors import UserError

ROWS = [row(f"question {number}?") for number in range(400)]
CONTENT = json.dumps(ROWS).encode()


@dataclass
class Server:
    """A file server on loopback that keeps a list of the byte ranges it was asked for.

    Attributes:
        files: content by path.
        drop_after: for the next connections, how many bytes each sends before it breaks.
        ranges: honour the Range header.
    """

    files: dict[str, bytes]
    drop_after: list[int] = field(default_factory=list)
    ranges: bool = True
    asked: list[str | None] = field(default_factory=list)
    url: str = ""

    def handler(server) -> type[http.server.BaseHTTPRequestHandler]:
        """A handler that serves ``server`` (named so because ``self`` is the request's)."""

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(self.headers.get("Range"))
                content = server.files.get(self.path)
                if content is None:
                    self.send_error(404)
                    return
                asked = self.headers.get("Range") if server.ranges else None
                first = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
                if first >= len(content):
                    self.send_error(416)
                    return
                self.send_response(206 if asked else 200)
                self.send_header("Content-Length", str(len(content) - first))
                self.end_headers()
                limit = server.drop_after.pop(0) if server.drop_after else len(content)
                self.wfile.write(content[first : first + limit])

            def log_message(self, format: str, *args: Any) -> None:
                """Keep quiet."""

        return Handler


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    found = Server({"/dataset/boolq/train.json": CONTENT})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), found.handler()) as running:
        found.url = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield found
        running.shutdown()
        thread.join()


BOOLQ = RemoteFile("dataset/boolq/train.json", len(ROWS), hashlib.sha256(CONTENT).hexdigest())
TARGET = "dataset/boolq/train.json"


def test_a_broken_connection_is_taken_up_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.drop_after = [1000, 2500]
    done = fetch(BOOLQ, server.url, tmp_path, 0.0)
    assert done == f"fetched, {len(CONTENT):,} bytes"
    assert (tmp_path / TARGET).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000-", "bytes=3500-"]
    assert [path.name for path in (tmp_path / TARGET).parent.iterdir()] == ["train.json"]


def test_a_killed_download_goes_on_in_the_next_call(server: Server, tmp_path: Path) -> None:
    part = tmp_path / f"{TARGET}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[:4321])
    fetch(BOOLQ, server.url, tmp_path, 0.0)
    assert server.asked == ["bytes=4321-"]
    assert (tmp_path / TARGET).read_bytes() == CONTENT


def test_a_download_killed_after_its_last_byte_is_finished(server: Server, tmp_path: Path) -> None:
    part = tmp_path / f"{TARGET}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT)
    fetch(BOOLQ, server.url, tmp_path, 0.0)
    assert (tmp_path / TARGET).read_bytes() == CONTENT


def test_a_server_without_ranges_is_asked_for_the_whole_again(server: Server, tmp_path: Path) -> None:
    server.ranges, server.drop_after = False, [1000]
    fetch(BOOLQ, server.url, tmp_path, 0.0)
    assert (tmp_path / TARGET).read_bytes() == CONTENT


def test_a_file_that_is_there_is_left_alone(server: Server, tmp_path: Path) -> None:
    fetch(BOOLQ, server.url, tmp_path, 0.0)
    assert fetch(BOOLQ, server.url, tmp_path, 0.0) == "already there"
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        (RemoteFile(TARGET, len(ROWS), "0" * 64), "is not the published file: its SHA-256 is"),
        (RemoteFile(TARGET, 9427, None), "it has 400 rows, not 9427"),
        (RemoteFile("dataset/piqa/train.json", None, None), "cannot be fetched: HTTP 404"),
    ],
)
def test_another_file_is_refused_and_not_kept(server: Server, tmp_path: Path, file: RemoteFile, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        fetch(file, server.url, tmp_path, 0.0)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_broken_rows_are_refused(server: Server, tmp_path: Path) -> None:
    server.files["/" + TARGET] = CONTENT[:-5]
    with pytest.raises(UserError, match="is not valid JSON"):
        fetch(RemoteFile(TARGET, None, None), server.url, tmp_path, 0.0)


def test_a_connection_that_brings_nothing_ends_after_five_attempts_and_keeps_the_rest(
    server: Server, tmp_path: Path
) -> None:
    server.drop_after = [1000, 0, 0, 0, 0, 0]
    with pytest.raises(UserError, match="is there a network"):
        fetch(BOOLQ, server.url, tmp_path, 0.0)
    assert (tmp_path / f"{TARGET}.part").read_bytes() == CONTENT[:1000]
    assert len(server.asked) == 1 + fetch_data.ATTEMPTS


def small_task(folder: Path) -> Path:
    """A config folder with one task of one file."""
    (folder / "task").mkdir(parents=True)
    files = {"train_file": "dataset/{subset}/train.json", "test_file": "x.json"}
    source = {"_target_": fetch_data.SOURCE, "expected_rows": {"boolq/train": 400}} | files
    task = {"sources": {"paper": source}, "train_subsets": ["boolq"], "test_subsets": []}
    (folder / "task" / "questions.yaml").write_text(yaml.safe_dump(task))
    (folder / "task" / "other.yaml").write_text("name: other\n")
    return folder


def test_the_command_says_the_licences_and_where_the_data_is(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["questions", "--root", str(tmp_path / "data"), "--base-url", server.url]
    assert main(options, small_task(tmp_path / "configs")) == 0
    out = capsys.readouterr().out
    assert "ODC-By" in out
    assert f"data.root={(tmp_path / 'data').resolve()}" in out


def test_without_a_network_the_command_ends_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    options = ["questions", "--root", str(tmp_path / "data"), "--base-url", "http://127.0.0.1:9"]
    assert main(options, small_task(tmp_path / "configs"), pause_seconds=0.0) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "is there a network?" in err


def test_an_unknown_task_names_the_choices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["other"], small_task(tmp_path))
    assert stopped.value.code == 2
    assert "questions" in capsys.readouterr().err


def test_arithmetic_is_one_training_file_and_seven_test_files() -> None:
    files = files_of(fetch_data.CONFIGS / "task" / "math10k.yaml")
    assert [(file.path, file.rows) for file in files][:2] == [
        ("ft-training_set/math_10k.json", 9919),
        ("dataset/AQuA/test.json", 254),
    ]
    assert len(files) == 8


def test_tasks_from_elsewhere_cannot_be_fetched() -> None:
    assert files_of(fetch_data.CONFIGS / "task" / "code.yaml") == []


def test_commonsense_is_sixteen_files_whose_training_rows_are_the_published_170k() -> None:
    files = files_of(fetch_data.CONFIGS / "task" / "commonsense.yaml")
    assert len(files) == 16
    assert sum(file.rows or 0 for file in files if file.path.endswith("train.json")) == 170_420
    assert sum(file.sha256 is not None for file in files) == len(fetch_data.SHA256)


def test_the_split_files_of_the_fine_grained_sets_are_the_official_ones(real_data: Path, tmp_path: Path) -> None:
    """Every real file passes the checks; a changed one does not."""
    for name in ("cub", "nabirds", "flowers", "dogs", "cars"):
        for file in files_of(fetch_data.CONFIGS / "task" / "fgvc" / f"{name}.yaml"):
            folder, split = file.path.split("/")[1:]
            content = gzip.decompress((real_data / "fgvc_splits_gift" / f"{folder}_{split}.gz").read_bytes())
            target = tmp_path / "whole.json"
            target.write_bytes(content)
            fetch_data.check(file, target)
            assert file.url is not None
            assert file.url.endswith(f"/data/{folder}/{split}")
            target.write_bytes(content + b" ")
            with pytest.raises(UserError, match="is not the published file"):
                fetch_data.check(file, target)


def packed(names: list[str]) -> bytes:
    """A tar archive that holds these files."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(name)
            tar.addfile(member, io.BytesIO(name.encode()))
    return content.getvalue()


def test_images_are_fetched_unpacked_and_counted(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    task = OmegaConf.create({"subset": "cub", "source": {"images": "CUB_200_2011/images"}})
    (tmp_path / "train.json").write_text(json.dumps({"001.Owl/1.jpg": 1, "002.Crow/2.jpg": 2}))
    files = [RemoteFile("train.json", 2, None)]
    images = ["CUB_200_2011/images/001.Owl/1.jpg", "CUB_200_2011/images/002.Crow/2.jpg"]

    def images_missing(content: list[str], md5: str | None = None) -> int:
        server.files["/images.tgz"] = packed(content)
        md5 = md5 or hashlib.md5(server.files["/images.tgz"], usedforsecurity=False).hexdigest()
        known = replace(fetch_data.ARCHIVES["cub"], url=f"{server.url}/images.tgz", md5=md5)
        monkeypatch.setitem(fetch_data.ARCHIVES, "cub", known)
        return fetch_images(task, files, tmp_path, 0.0)

    with pytest.raises(UserError, match="is not the known archive: its MD5 is"):
        images_missing(images, "0" * 32)
    assert [path.name for path in tmp_path.iterdir()] == ["train.json"]
    with pytest.raises(UserError, match="lacks 1 images that the split files name"):
        images_missing(images[:1])
    server.drop_after = [50]
    capsys.readouterr()
    assert images_missing([*images, "CUB_200_2011/README", "attributes.txt"]) == 0
    said = capsys.readouterr().out
    assert "terms and source: https://www.vision.caltech.edu/datasets/cub_200_2011" in said
    assert "fetched and unpacked, 2 images" in said
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"train.json", "1.jpg", "2.jpg"}
    asked = len(server.asked)
    assert images_missing([]) == 0
    assert len(server.asked) == asked


def test_only_images_are_unpacked_and_none_outside(server: Server, tmp_path: Path) -> None:
    server.files["/a.tgz"] = packed(["Images/dog.jpg", "notes.txt", "Images/../../escaped.jpg"])
    md5 = hashlib.md5(server.files["/a.tgz"], usedforsecurity=False).hexdigest()
    with pytest.raises(tarfile.OutsideDestinationError):
        fetch_archive(Archive(f"{server.url}/a.tgz", md5, "Images", "dogs"), tmp_path / "root", 0.0)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["a.tgz.part", "dog.jpg"]


def test_where_images_cannot_be_fetched_the_place_is_named(
    real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "val", "test"):
        target = tmp_path / "fgvc_splits" / "stanfordcars" / f"{split}.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        packed_file = real_data / "fgvc_splits_gift" / f"stanfordcars_{split}.json.gz"
        target.write_bytes(gzip.decompress(packed_file.read_bytes()))
    assert main(["fgvc/cars", "--root", str(tmp_path)], pause_seconds=0.0) == 0
    assert "images are missing from" in capsys.readouterr().out
