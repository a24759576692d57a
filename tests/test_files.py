"""Files are whole or not there: a full disk and a killed process leave what was there before."""

import subprocess
import sys
from pathlib import Path

import pytest

from wegeft.errors import StorageError
from wegeft.files import check_writable, remove_leftovers, write_atomically

# A limit on the size of files fails in the write itself, as a full disk does.
WRITER = """
import resource, sys
from pathlib import Path
from wegeft.errors import StorageError
from wegeft.files import write_atomically
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_atomically(Path(sys.argv[1]), b"new" * 4096)
except StorageError as error:
    print(error)
"""


def test_what_does_not_fit_leaves_the_old_file_and_says_so(tmp_path: Path) -> None:
    target = tmp_path / "state"
    write_atomically(target, b"old")
    done = subprocess.run([sys.executable, "-c", WRITER, target], capture_output=True, text=True, check=True)
    assert done.stdout == f"{target} could not be written (File too large); what was there before is whole.\n"
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"file/state could not be written \(.*\); what was there before is whole"):
        write_atomically(tmp_path / "file" / "state", b"new")


def test_a_folder_is_tried_without_leaving_anything_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path, tmp_path / "new" / "one", Path(), Path("new/one")):
        check_writable("records_dir", folder)
    for folder in (tmp_path / "file", tmp_path / "file" / "one", Path("file/one"), tmp_path / "nowhere"):
        with pytest.raises(StorageError, match=rf"^records_dir={folder} cannot be written to \(\w.*\); name another"):
            check_writable("records_dir", folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "nowhere"]


def test_leftovers_are_those_of_the_named_target_alone(tmp_path: Path) -> None:
    for name in (".abc-1.tmp", ".abd-1.tmp", "abc.json"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path, "abc")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".abd-1.tmp", "abc.json"]
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["abc.json"]
    remove_leftovers(tmp_path / "missing")
