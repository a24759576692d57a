"""Files that are missing, cut short, damaged or no text end in one sentence that names them."""

import gzip
from pathlib import Path

import pytest

from wegeft.errors import UserError
from wegeft.tasks.data_file import decode, read_bytes

WHOLE = gzip.compress(b"one row")


def test_packed_or_not_the_bytes_are_the_same(tmp_path: Path) -> None:
    for name, content in (("rows.json", b"one row"), ("rows.json.gz", WHOLE)):
        (tmp_path / name).write_bytes(content)
        assert read_bytes(tmp_path / name) == b"one row"


@pytest.mark.parametrize(
    "content",
    [b"one row", WHOLE[:-10], WHOLE[:10] + b"\xff" * 20, WHOLE[:-8] + b"\0" * 8],
    ids=["not_packed", "cut", "damaged", "another_checksum"],
)
def test_what_cannot_be_unpacked_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rows.json.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"data file \S+rows\.json\.gz cannot be read"):
        read_bytes(path)


def test_what_is_not_there_or_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"rows\.json does not exist; check data\.root"):
        read_bytes(tmp_path / "rows.json")
    with pytest.raises(UserError, match="cannot be read"):
        read_bytes(tmp_path)


def test_what_is_not_text_is_named_with_its_line() -> None:
    with pytest.raises(UserError, match=r"rows\.tsv is not UTF-8 text at line 2"):
        decode(Path("rows.tsv"), b"one\ntwo \xe9\n")
