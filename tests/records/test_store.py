"""The store: schema, atomicity under a killed process, and how bad files are reported."""

import copy
import json
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.records.factory import SUBSETS, make_config, make_record
from wegeft.errors import StorageError
from wegeft.records import InvalidRecord, collect_provenance, read_record, read_records, write_record


def test_what_is_written_is_read(tmp_path: Path) -> None:
    record = make_record()
    path = write_record(record, tmp_path / "new" / "folder")
    assert path.name == f"{record['run_id']}.json"
    assert read_record(path) == record
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_writing_is_deterministic_and_replaces(tmp_path: Path) -> None:
    record = make_record()
    first = write_record(record, tmp_path).read_bytes()
    reordered = dict(reversed(record.items()))
    assert write_record(reordered, tmp_path).read_bytes() == first


def test_real_provenance_follows_the_schema(tmp_path: Path) -> None:
    record = make_record()
    record["provenance"] = collect_provenance(["run.py"])
    write_record(record, tmp_path)


@pytest.mark.parametrize("status", ["failed", "diverged"])
def test_a_run_that_did_not_finish_is_a_record_too(tmp_path: Path, status: str) -> None:
    record = make_record(status=status)
    assert read_record(write_record(record, tmp_path))["error"] == "The loss was not finite at step 7."


def _change(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def apply(record: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for parent in parents:
            record = record[parent]
        record[last] = value

    return apply


BROKEN = [
    ("run_id", "xyz"),
    ("schema_version", 2),
    ("status", "done"),
    ("created", "yesterday"),
    ("error", "finished runs have none"),
    ("surprise", 1),
    ("config.method", {}),
    ("config.seed", "42"),
    ("provenance.git.commit", "abc"),
    ("provenance.hardware.surprise", 1),
    ("data.hashes", {"boolq/train": "abc"}),
    ("parameters.trainable", -1),
    ("parameters.percent", {}),
    ("training.loss_curve", [[1]]),
    ("training.loss_curve", [[1, 2.0, 3.0]]),
    ("training.seconds", -1.0),
    ("evaluation.scores", {}),
    ("evaluation.scores.boolq", {"metric": "accuracy", "value": 50.0, "stderr": None, "n": 1}),
    ("evaluation.mean", None),
    ("adapter.sha256", "abc"),
]


@pytest.mark.parametrize(("path", "value"), BROKEN)
def test_the_schema_is_strict(tmp_path: Path, path: str, value: Any) -> None:
    record = make_record()
    _change(path, value)(record)
    with pytest.raises(InvalidRecord, match="breaks the schema"):
        write_record(record, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_every_required_field_is_required(tmp_path: Path) -> None:
    for field in make_record():
        record = make_record()
        del record[field]
        with pytest.raises(InvalidRecord, match=field):
            write_record(record, tmp_path)


@pytest.mark.parametrize(("subset", "digits"), [("boolq", 124), ("boolq", 126), ("elsewhere", 125)])
def test_outcomes_must_fit_their_scores(tmp_path: Path, subset: str, digits: int) -> None:
    record = make_record()
    record["evaluation"]["outcomes"] = {subset: {"questions": "0" * 16, "right": "f" * digits}}
    with pytest.raises(InvalidRecord, match=f"outcomes.{subset} does not fit"):
        write_record(record, tmp_path)
    record["evaluation"]["outcomes"] = {"boolq": {"questions": "0" * 16, "right": "f" * 125}}
    write_record(record, tmp_path)


def test_a_run_that_did_not_finish_must_say_why(tmp_path: Path) -> None:
    record = make_record(status="failed")
    record["error"] = None
    with pytest.raises(InvalidRecord, match="error"):
        write_record(record, tmp_path)


def test_a_number_that_is_not_finite_is_not_written(tmp_path: Path) -> None:
    record = make_record()
    record["training"]["final_loss"] = float("nan")
    with pytest.raises(ValueError, match=r"final_loss|JSON compliant"):
        write_record(record, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_bad_file_does_not_hide_the_others(tmp_path: Path) -> None:
    good = make_record()
    write_record(good, tmp_path)
    text = json.dumps(make_record(make_config(seed=43)))
    (tmp_path / "a_torn.json").write_text(text[: len(text) // 2])
    (tmp_path / "b_nan.json").write_text(text.replace("0.5", "NaN"))
    (tmp_path / "c_list.json").write_text("[]")
    (tmp_path / "d_binary.json").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "e_extra.json").write_text(json.dumps({**good, "surprise": 1}))
    (tmp_path / "f_folder.json").mkdir()
    (tmp_path / "notes.txt").write_text("not a record")
    records, problems = read_records(tmp_path)
    assert records == [good]
    assert [problem.file[0] for problem in problems] == list("abcdef")
    assert not any("\n" in problem.message for problem in problems)
    assert "surprise" in str(problems[4])


def test_two_files_with_one_id_and_different_scores_are_an_error(tmp_path: Path) -> None:
    record = make_record()
    other = make_record(values=dict.fromkeys(SUBSETS, 0.6))
    bystander = make_record(make_config(seed=7))
    for name, content in (("a", record), ("b", other), ("c", record), ("d", bystander)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    records, problems = read_records(tmp_path)
    assert records == [bystander]
    assert len(problems) == 1
    assert "a.json, b.json" in problems[0].message
    assert record["run_id"] in problems[0].message


def test_two_files_that_agree_count_once(tmp_path: Path) -> None:
    record = make_record()
    again = copy.deepcopy(record)
    again["created"] = "2026-05-05T00:00:00Z"
    (tmp_path / "a.json").write_text(json.dumps(record))
    (tmp_path / "b.json").write_text(json.dumps(again))
    assert read_records(tmp_path) == ([record], [])


def test_records_come_sorted_by_id(tmp_path: Path) -> None:
    for seed in range(10):
        (tmp_path / f"{9 - seed}.json").write_text(json.dumps(make_record(make_config(seed=seed))))
    identities = [record["run_id"] for record in read_records(tmp_path)[0]]
    assert identities == sorted(identities)
    assert len(identities) == 10


def test_no_folder_is_no_records(tmp_path: Path) -> None:
    assert read_records(tmp_path / "nowhere") == ([], [])


WRITER = """
import itertools, sys
from pathlib import Path
from tests.records.factory import make_record
from wegeft.records import write_record
record = make_record()
record["training"]["loss_curve"] = [[step, 1.0] for step in range(20_000)]
for turn in itertools.count():
    record["training"]["final_loss"] = float(turn)
    write_record(record, Path(sys.argv[1]))
    if turn == 0:
        print("first", flush=True)
"""


def test_a_killed_writer_leaves_a_whole_record(tmp_path: Path) -> None:
    """SIGKILL at several moments of a process that rewrites one large record without pause."""
    root = Path(__file__).parents[2]
    for turn in range(4):
        folder = tmp_path / str(turn)
        writer = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), str(folder)], cwd=root, stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            writer.wait(0.05 + 0.013 * turn)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        records, problems = read_records(folder)
        assert problems == []
        assert len(records[0]["training"]["loss_curve"]) == 20_000


def test_a_write_that_fails_leaves_the_old_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = make_record()
    path = write_record(record, tmp_path)

    def no_space(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    changed = copy.deepcopy(record)
    changed["training"]["seconds"] = 1.0
    with pytest.raises(StorageError, match="No space"):
        write_record(changed, tmp_path)
    assert read_record(path) == record
    assert list(tmp_path.iterdir()) == [path]
