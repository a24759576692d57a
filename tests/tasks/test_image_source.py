"""Images in files: numbering of classes, whole and broken files, the real split files."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.composing import choices, run_config
from tests.tasks.pictures import CLASSES, write_pictures
from wegeft.errors import UserError
from wegeft.tasks import build_task
from wegeft.tasks.image import ImageTask
from wegeft.tasks.image_check import check_images, is_whole
from wegeft.tasks.image_files import SplitFiles, SplitFilesConfig
from wegeft.tasks.image_source import ImageExample, open_image

FGVC = [name for name in choices("task") if name.startswith("fgvc/")]


def source(root: Path | None, **changes: object) -> SplitFiles:
    fields: dict[str, object] = {
        "subset": "cub",
        "root": None if root is None else str(root),
        "images": "CUB_200_2011/images",
        "split_file": "fgvc_splits/cub/{split}.json",
        "splits": ("train", "val", "test"),
        "class_numbering": "all_splits",
        "expected_images": {"train": 24},
    }
    return SplitFiles(SplitFilesConfig.model_validate({**fields, **changes}))


def test_classes_are_numbered_without_gaps_and_named_by_their_folders(tmp_path: Path) -> None:
    found = source(write_pictures(tmp_path))
    assert found.classes() == list(CLASSES)
    examples = found.examples("test")
    assert {example.label for example in examples} == {0, 1, 2}
    assert examples[0].uid == "cub/test/003.Red/test_0.jpg"
    assert (found.expected("train"), found.expected("test")) == (24, None)


def test_a_split_without_a_class_shifts_labels_only_when_numbered_by_itself(tmp_path: Path) -> None:
    path = write_pictures(tmp_path) / "fgvc_splits/cub/val.json"
    without_first = {name: raw for name, raw in json.loads(path.read_text()).items() if raw != "003"}
    path.write_text(json.dumps(without_first))
    assert {e.label for e in source(tmp_path).examples("val")} == {1, 2}
    assert {e.label for e in source(tmp_path, class_numbering="per_split").examples("val")} == {0, 1}


def test_the_hash_covers_names_labels_and_pixels(tmp_path: Path) -> None:
    before = source(write_pictures(tmp_path)).content_hash("val")
    assert source(tmp_path).content_hash("val") == before
    Image.new("RGB", (48, 48)).save(tmp_path / "CUB_200_2011/images/003.Red/val_0.jpg")
    assert source(tmp_path).content_hash("val") != before


def test_missing_and_truncated_images_are_named(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path) / "CUB_200_2011/images/003.Red"
    source(tmp_path).check("train")
    (folder / "train_0.jpg").unlink()
    for name in ("train_1.png", "train_2.jpg"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError) as caught:
        source(tmp_path).check("train")
    said = str(caught.value)
    assert "1 of 24 image files are missing: " in said
    assert "2 of 24 image files are cut short or broken: " in said
    assert all(name in said for name in ("train_0.jpg", "train_1.png", "train_2.jpg"))


def test_many_broken_images_are_counted(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"9 of 9 image files are missing: \S+0, \S+1, \S+2 and others"):
        check_images([tmp_path / str(number) for number in range(9)])


def test_bytes_after_the_end_of_an_image_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.new("RGB", (9, 9)).save(path)
    path.write_bytes(path.read_bytes() + b"\0" * 500)
    assert is_whole(path)
    path.write_bytes(b"")
    assert not is_whole(path)


def test_grey_and_transparent_images_become_rgb(tmp_path: Path) -> None:
    for mode in ("L", "P", "RGBA", "CMYK"):
        path = tmp_path / f"{mode}.{'jpg' if mode == 'CMYK' else 'png'}"
        Image.new(mode, (5, 4)).save(path)
        assert open_image(ImageExample("x", path, 0)).mode == "RGB"


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_text("not an image")
    with pytest.raises(UserError, match=r"image file \S+a\.jpg cannot be read"):
        open_image(ImageExample("x", path, 0))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "cannot be read"),
        ("[]", "holds no object"),
        ('{"a.jpg": "red"}', "entry a.jpg: the class 'red' is not a number"),
        ('{"a.jpg": true}', "entry a.jpg: the class True"),
    ],
)
def test_a_broken_split_file_is_named(tmp_path: Path, content: str, words: str) -> None:
    path = write_pictures(tmp_path) / "fgvc_splits/cub/val.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"val\.json") as caught:
        source(tmp_path).examples("train")
    assert words in str(caught.value)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.root is not set"):
        source(None).examples("train")
    with pytest.raises(UserError, match=r"train\.json does not exist; check data\.root"):
        source(tmp_path).examples("train")
    with pytest.raises(UserError, match=r"task\.test_split: there is no split dev; choices: train, val, test"):
        source(write_pictures(tmp_path)).examples("dev")


@pytest.mark.parametrize("name", FGVC)
def test_the_official_splits_have_the_published_sizes_and_share_no_image(name: str, real_data: Path) -> None:
    task = real_task(name, real_data)
    seen: set[Path] = set()
    for split in ("train", "val", "test"):
        examples = task.source.examples(split)
        assert len(examples) == task.source.expected(split)
        paths = {Path(str(example.image)) for example in examples}
        assert len(paths) == len(examples)
        assert not paths & seen
        seen |= paths
    assert len(task.source.classes()) == task.config.classes


@pytest.mark.parametrize("name", FGVC)
def test_official_numbering_shifts_only_the_validation_labels_of_nabirds(name: str, real_data: Path) -> None:
    shifted = {}
    for split in ("train", "val", "test"):
        ours, official = (
            real_task(name, real_data, f"protocol.class_numbering={numbering}").source.examples(split)
            for numbering in ("all_splits", "per_split")
        )
        shifted[split] = sum(a.label != b.label for a, b in zip(ours, official, strict=True))
    assert shifted == {"train": 0, "val": 1440 if name == "fgvc/nabirds" else 0, "test": 0}


def real_task(name: str, real_data: Path, *overrides: str) -> ImageTask:
    """The task on the real split files; its images are not there."""
    file = f"task.source.split_file='fgvc_splits_gift/{REAL_NAMES[name]}_{{split}}.json'"
    task = build_task(run_config(f"task={name}", f"data.root={real_data}", file, *overrides).task)
    assert isinstance(task, ImageTask)
    return task


REAL_NAMES = {
    "fgvc/cub": "cub",
    "fgvc/nabirds": "nabirds",
    "fgvc/flowers": "oxfordflowers",
    "fgvc/dogs": "stanforddogs",
    "fgvc/cars": "stanfordcars",
}
