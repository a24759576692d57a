"""The mini pictures as a source of images for tasks."""

import numpy as np
import pytest

from wegeft.errors import UserError
from wegeft.schema import validate
from wegeft.tasks.mini_images import MiniPictures, MiniPicturesConfig
from wegeft.tasks.mini_pictures.sets import picture_sets


def source(**changes: object) -> MiniPictures:
    values = {"set": "birds", "world_seed": 0, "size": 16, "pictures": {"train": 40, "test": 20}, **changes}
    return MiniPictures(validate(MiniPicturesConfig, values, "task.source"))


def test_examples_are_the_pictures_of_the_set_with_their_boxes() -> None:
    train, test = source().examples("train"), source().examples("test")
    assert (len(train), len(test)) == (40, 20)
    assert [example.label for example in train] == [*range(20), *range(20)]
    drawn = picture_sets(0)["birds"].picture("test", 7, 16)
    assert (test[7].uid, test[7].box) == ("birds/test/7", drawn.boxes[0])
    assert np.array_equal(np.asarray(test[7].image), drawn.pixels_HWC)


def test_pictures_without_exactly_one_object_have_no_box() -> None:
    counted = source(set="counting").examples("test")
    assert [example.box is None for example in counted[:3]] == [False, True, True]
    assert source(set="land").examples("test")[0].box is None


def test_as_many_pictures_as_asked_for_are_expected() -> None:
    assert source().expected("train") == 40
    assert source().classes() == picture_sets(0)["birds"].classes


def test_the_hash_changes_with_what_is_drawn() -> None:
    assert source().content_hash("test") == source().content_hash("test")
    assert source().content_hash("test") != source(world_seed=1).content_hash("test")


def test_an_unknown_set_or_split_is_refused_with_the_choices() -> None:
    with pytest.raises(UserError, match=r"did you mean birds.*choices: birds, flowers"):
        source(set="bird").check("train")
    with pytest.raises(UserError, match="no split val; it has train, test"):
        source().check("val")
    with pytest.raises(UserError, match=r"task\.source\.pictures"):
        source(pictures={"training": 3})
