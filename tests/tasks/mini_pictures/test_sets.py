"""The mini pictures: the same bytes everywhere, boxes and masks that fit, species that pretraining never shows."""

import hashlib
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from wegeft.tasks.mini_pictures.creatures import KINDS
from wegeft.tasks.mini_pictures.pretraining import KIND, labelled, questions
from wegeft.tasks.mini_pictures.scenes import Picture, box_of
from wegeft.tasks.mini_pictures.sets import MOST, WAYS, picture_sets
from wegeft.tasks.mini_pictures.species import FINE, GENERA, SPECIES_PER_GENUS, held_out_shapes, shapes_of, species_of

SETS = picture_sets(0)
# SHA-256 of the first ten test pictures of each set of world 0: records and the shipped weights depend on them.
GOLDEN = {
    "birds": "b2d528d37e76f968",
    "flowers": "66b49cd2aef2126c",
    "things": "acda0dd748c62d15",
    "land": "d8f754e21e8d498f",
    "counting": "123dbdc13cfd1bb8",
    "position": "0c3b81c51e99ff79",
    "orientation": "ad748e13c834e816",
    "pretraining": "8094a67f9b5abdaf",
}


def digest(pictures: list[Picture]) -> str:
    whole = hashlib.sha256()
    for picture in pictures:
        whole.update(picture.pixels_HWC.tobytes())
    return whole.hexdigest()


@pytest.mark.parametrize("name", SETS)
def test_pictures_are_the_same_to_the_byte_as_when_the_weights_were_made(name: str) -> None:
    assert digest([SETS[name].picture("test", i, 32) for i in range(10)])[:16] == GOLDEN[name]


def test_pretraining_pictures_are_the_same_to_the_byte_as_when_the_weights_were_made() -> None:
    assert digest([labelled(0, i, 32).picture for i in range(20)])[:16] == GOLDEN["pretraining"]


def test_pictures_do_not_depend_on_the_process_and_need_no_torch() -> None:
    code = (
        "import sys; from wegeft.tasks.mini_pictures.sets import picture_sets as s;"
        "print(s(0)['birds'].picture('train', 3, 32).pixels_HWC.sum(), 'torch' in sys.modules)"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert said == {f"{SETS['birds'].picture('train', 3, 32).pixels_HWC.sum()} False\n"}


@pytest.mark.parametrize("name", SETS)
def test_classes_take_turns_and_no_picture_occurs_twice(name: str) -> None:
    chosen = SETS[name]
    count = 3 * len(chosen.classes)
    assert set(Counter(map(chosen.label, range(count))).values()) == {3}
    drawn = [chosen.picture(split, i, 16) for split in ("train", "val", "test") for i in range(count)]
    assert len({picture.pixels_HWC.tobytes() for picture in drawn}) == 3 * count
    assert {picture.pixels_HWC.shape for picture in drawn} == {(16, 16, 3)}


def test_another_world_has_other_species_and_pictures() -> None:
    other = picture_sets(1)["birds"]
    assert species_of("bird", 1) != species_of("bird", 0)
    assert digest([other.picture("test", 0, 32)]) != digest([SETS["birds"].picture("test", 0, 32)])


@pytest.mark.parametrize("name", ["birds", "flowers", "things", "position", "orientation"])
def test_the_box_is_the_smallest_around_what_shows_the_object(name: str) -> None:
    for i in range(20):
        picture = SETS[name].picture("test", i, 64)
        (box,) = picture.boxes
        left, top, right, bottom = box
        (mask_HW,) = picture.object_masks
        assert not np.delete(mask_HW, np.s_[top:bottom], axis=0).any()
        assert not np.delete(mask_HW, np.s_[left:right], axis=1).any()
        assert mask_HW[top].any()
        assert mask_HW[bottom - 1].any()
        assert mask_HW[:, left].any()
        assert mask_HW[:, right - 1].any()
        assert 0 <= left < right <= 64
        assert 0 <= top < bottom <= 64


@pytest.mark.parametrize("name", ["birds", "flowers"])
def test_part_masks_lie_in_the_object_and_do_not_overlap(name: str) -> None:
    picture = SETS[name].picture("test", 0, 96)
    (mask_HW,) = picture.object_masks
    parts = picture.part_masks
    assert len(parts) > 4
    inside = [part_HW & ~mask_HW for part_HW in parts.values()]
    assert not np.any(inside)
    assert np.sum(list(parts.values()), axis=0).max() == 1
    assert sum(part_HW.sum() for part_HW in parts.values()) > 0.9 * mask_HW.sum()


def test_the_object_stands_out_from_the_same_picture_without_it() -> None:
    """The mask is where the pixels are the object's: its colours differ from those around it."""
    shown = [SETS["birds"].picture("test", i, 64) for i in range(40)]
    apart = [
        np.abs(p.pixels_HWC[p.object_masks[0]].mean(0) - p.pixels_HWC[~p.object_masks[0]].mean(0)).max() for p in shown
    ]
    assert float(np.median(apart)) > 20


def test_there_are_as_many_boxes_as_flowers_are_counted() -> None:
    counting = SETS["counting"]
    for i in range(3 * MOST):
        assert len(counting.picture("test", i, 32).boxes) == int(counting.classes[counting.label(i)])


def test_the_column_is_where_the_butterfly_is() -> None:
    position = SETS["position"]
    for i in range(4 * WAYS):
        ((left, _, right, _),) = position.picture("test", i, 64).boxes
        column = ((left + right) / 128 - 0.1) / 0.8 * WAYS
        assert abs(column - (position.label(i) + 0.5)) < 1.1


def test_land_has_no_object() -> None:
    assert SETS["land"].picture("test", 0, 32).boxes == ()
    assert SETS["land"].picture("test", 0, 32).object_masks == ()


def test_an_empty_mask_has_no_box() -> None:
    assert box_of(np.zeros((4, 4), np.bool_)) is None


@pytest.mark.parametrize("kind", FINE.values())
def test_species_of_a_genus_share_colours_and_differ_in_few_parts(kind: str) -> None:
    found = species_of(kind, 0)
    assert len({species.shapes for species in found}) == len(found) == GENERA * SPECIES_PER_GENUS
    colours = [a.name for a in KINDS[kind].attributes if not a.shape]
    for one in found:
        for other in found:
            if one.genus == other.genus:
                assert all(dict(one.values)[name] == dict(other.values)[name] for name in colours)
                assert sum(a != b for a, b in zip(one.shapes, other.shapes, strict=True)) <= 4


def test_pretraining_never_shows_the_parts_of_a_species() -> None:
    for i in range(400):
        found = labelled(0, i, 8)
        kind = list(KINDS.values())[found.labels[KIND]]
        assert shapes_of(kind, dict(found.values)) not in held_out_shapes(kind.name, 0)


def test_pretraining_asks_of_each_picture_its_kind_and_the_attributes_of_its_kind() -> None:
    asked = questions()
    seen: Counter[tuple[str, int]] = Counter()
    for i in range(400):
        labels = labelled(0, i, 8).labels
        kind = asked[KIND][labels[KIND]]
        assert set(labels) == {KIND, *(f"{kind}/{a.name}" for a in KINDS[kind].attributes)}
        seen.update(labels.items())
    assert set(seen) == {(question, i) for question, answers in asked.items() for i in range(len(answers))}


def test_pretraining_is_told_less_than_species_differ_in() -> None:
    finer = [a for kind in FINE.values() for a in KINDS[kind].shapes if len(a.labels) < len(a.values)]
    assert len(finer) > 6
