"""Split files made from class folders are those that `task=own/files` reads."""

import json
from pathlib import Path

import pytest
from PIL import Image

from scripts import split_images
from tests.composing import run_config
from wegeft.tasks import build_task


def fill(folder: Path, pictures: int) -> None:
    folder.mkdir(parents=True)
    for number in range(pictures):
        Image.new("RGB", (8, 8)).save(folder / f"{number}.PNG")
    (folder / "notes.txt").write_text("no picture")


def test_a_share_of_every_class_is_for_testing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, count in (("owl", 8), ("cat", 4)):
        fill(tmp_path / "images" / name, count)
    assert split_images.main([str(tmp_path / "images")]) == 0
    train, test = (json.loads((tmp_path / f"{split}.json").read_text()) for split in ("train", "test"))
    assert [list(split.values()).count(number) for split in (train, test) for number in (0, 1)] == [3, 6, 1, 2]
    assert not set(train) & set(test)
    assert all((tmp_path / "images" / path).is_file() for path in (*train, *test))
    said = capsys.readouterr().out
    assert said.startswith("9 for train, 3 for test in 2 classes\n")
    task = build_task(run_config(*said.splitlines()[1].split()[2:], "model=mini_vit").task)
    task.check_data()
    fill(tmp_path / "images" / "dog", 4)  # another class moves no picture of those that were there
    split_images.main([str(tmp_path / "images")])
    assert set(train) < set(json.loads((tmp_path / "train.json").read_text()))


def test_splits_that_are_there_are_taken(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("val", 1)):
        for name in ("cat", "owl"):
            fill(tmp_path / "images" / split / name, count)
    assert split_images.main([str(tmp_path / "images")]) == 0
    assert json.loads((tmp_path / "test.json").read_text()) == {"val/cat/0.PNG": 0, "val/owl/0.PNG": 1}
    fill(tmp_path / "images" / "val" / "dog", 1)
    assert split_images.main([str(tmp_path / "images")]) == 2


@pytest.mark.parametrize("share", ["0.25", "0", "1.5"])
def test_wrong_input_is_one_sentence_and_writes_nothing(
    share: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images").mkdir()
    assert split_images.main([str(tmp_path / "images"), "--test", share]) == 2
    fill(tmp_path / "images" / "cat", 1)
    assert split_images.main([str(tmp_path / "images"), "--test", share]) == 2
    assert [line[:7] for line in capsys.readouterr().err.splitlines()] == ["error: "] * 2
    assert not list(tmp_path.glob("*.json"))
