"""The list files of VTAB-1k and archives of arrays."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.composing import choices, run_config
from wegeft.cli import CONFIG_FOLDER
from wegeft.errors import UserError
from wegeft.tasks import build_task
from wegeft.tasks.image import ImageTask
from wegeft.tasks.image_arrays import ArrayFile, ArrayFileConfig
from wegeft.tasks.image_lists import read_list

VTAB = [name for name in choices("task") if name.startswith("vtab1k/")]


def vtab(root: Path, *overrides: str) -> ImageTask:
    task = build_task(run_config("task=vtab1k/eurosat", f"data.root={root}", *overrides).task)
    assert isinstance(task, ImageTask)
    return task


def write_lists(root: Path) -> Path:
    folder = root / "vtab-1k" / "eurosat"
    (folder / "images").mkdir(parents=True)
    for split in ("train800", "val200", "train800val200", "test"):
        names = [f"images/{split}_{number}.png" for number in range(10)]
        for name in names:
            Image.new("RGB", (20, 12)).save(folder / name)
        (folder / f"{split}.txt").write_text("".join(f"{name} {number}\n" for number, name in enumerate(names)))
    return root


def test_vtab_trains_on_all_thousand_and_chooses_on_two_hundred(tmp_path: Path) -> None:
    final = vtab(write_lists(tmp_path))
    assert [e.uid for e in final.train_examples()][:1] == ["eurosat/train800val200/images/train800val200_0.png"]
    assert (final.scored_subset, final.expected_train_examples()) == ("eurosat", 1000)
    search = vtab(tmp_path, "task.train_splits=[train800]", "task.test_split=val200")
    assert (search.scored_subset, search.expected_train_examples()) == ("eurosat/val200", 800)
    search.check_data()
    assert [e.label for e in search.test_examples()] == list(range(10))


def test_the_tasks_are_those_of_the_published_table(project_root: Path) -> None:
    definition = project_root / "src" / "wegeft" / "tables" / "definitions" / "vtab1k_tasks.yaml"
    columns = [column["subset"] for column in yaml.safe_load(definition.read_text())["columns"]]
    read = {name: yaml.safe_load((CONFIG_FOLDER / "task" / f"{name}.yaml").read_text()) for name in VTAB}
    tasks = {name.removeprefix("vtab1k/"): task for name, task in read.items()}
    assert sorted(columns) == sorted(tasks)
    assert len(tasks) == 19
    assert all(task["subset"] == name for name, task in tasks.items())


@pytest.mark.parametrize("line", ["a.jpg", "a.jpg x", "a.jpg 10", "10", "a.jpg -1", ""])
def test_a_broken_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "test.txt"
    path.write_text(f"some name.jpg 9\n{line}\n")
    with pytest.raises(UserError, match=r"test\.txt, line 2"):
        read_list(path, 10)


def test_a_missing_list_and_a_double_image_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"test\.txt cannot be read"):
        read_list(tmp_path / "test.txt", 10)
    (tmp_path / "test.txt").write_text("a.jpg 1\na.jpg 2\n")
    with pytest.raises(UserError, match=r"line 2: a\.jpg was listed before"):
        read_list(tmp_path / "test.txt", 10)


def archive(folder: Path, **changes: Any) -> ArrayFile:
    arrays = {
        "x_train": np.arange(4 * 5 * 5 * 3, dtype=np.uint8).reshape(4, 5, 5, 3),
        "y_train": np.array([0, 1, 1, 0]),
        "classes": np.array(["cat", "dog"]),
    }
    np.savez(folder / "images.npz", **{**arrays, **changes})
    return ArrayFile(ArrayFileConfig(subset="mine", root=str(folder), file="images.npz", expected_images={}))


def test_arrays_become_examples(tmp_path: Path) -> None:
    source = archive(tmp_path)
    examples = source.examples("train")
    assert source.classes() == ["cat", "dog"]
    assert [(e.uid, e.label) for e in examples][:2] == [("mine/train/0", 0), ("mine/train/1", 1)]
    before = source.content_hash("train")
    assert archive(tmp_path).content_hash("train") == before
    assert archive(tmp_path, y_train=np.array([0, 1, 1, 1])).content_hash("train") != before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"x_train": np.zeros((4, 5, 5, 3))}, "must be"),
        ({"y_train": np.array([0, 1])}, "must be"),
        ({"y_train": np.array([0, 1, 2, 0])}, "the label 2, which is no class"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        archive(tmp_path, **changes).check("train")
    with pytest.raises(UserError, match="has no array x_test"):
        archive(tmp_path).check("test")


def damaged(folder: Path) -> bytes:
    """An archive whose packed bytes are none."""
    np.savez_compressed(folder / "packed.npz", x_train=np.zeros(99))
    content = bytearray((folder / "packed.npz").read_bytes())
    start = 30 + sum(int.from_bytes(content[at : at + 2], "little") for at in (26, 28))  # after name and extra field
    content[start] = 0xFF
    return bytes(content)


@pytest.mark.parametrize(
    "content", [lambda _: b"PK nothing", lambda _: b"", damaged], ids=["broken", "empty", "damaged"]
)
def test_an_archive_that_cannot_be_read_is_named(tmp_path: Path, content: Callable[[Path], bytes]) -> None:
    source = archive(tmp_path)
    (tmp_path / "images.npz").write_bytes(content(tmp_path))
    with pytest.raises(UserError, match=r"images\.npz cannot be read"):
        source.check("train")
