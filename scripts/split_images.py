#!/usr/bin/env python
"""List pictures that lie in folders of their classes as the split files that ``task=own/files`` reads.

``python scripts/split_images.py FOLDER/images`` writes ``train.json`` and ``test.json`` into FOLDER. Of the pictures
FOLDER/images/CLASS/NAME a quarter of each class is for testing (``--test``), chosen by the hash of the path. Where they
are divided already, FOLDER/images/SPLIT/CLASS/NAME with the splits train and test, or train and val, these are taken.

Does not: copy, look into, or change pictures. Exit code 2 for wrong input; nothing has been written then.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from wegeft.files import write_atomically

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm"}
DIVIDED = ({"train", "test"}, {"train", "val"})
Split = dict[str, int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("images", type=Path, help="folder with a folder of pictures for each class")
    parser.add_argument("--test", type=float, default=0.25, help="share of each class for testing (0 to 1)")
    options = parser.parse_args(arguments)
    try:
        splits = divided(options.images) or divide(options.images, options.test)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    root = options.images.parent
    for name, split in splits.items():
        write_atomically(root / f"{name}.json", (json.dumps(split, indent=0) + "\n").encode())
    classes = len(set().union(*(split.values() for split in splits.values())))
    print(", ".join(f"{len(split)} for {name}" for name, split in splits.items()), f"in {classes} classes")
    print(
        f"python run.py task=own/files data.root={root} task.source.images={options.images.name} task.classes={classes}"
    )
    return 0


def divided(images: Path) -> dict[str, Split] | None:
    """The splits of ``images``, which holds a folder for each; None if it does not.

    Raises:
        ValueError: no such folder, no pictures, or other classes in one split than in the other.
    """
    names = {folder.name for folder in _folders(images)}
    if names not in DIVIDED:
        return None
    test = (names - {"train"}).pop()
    classes = [folder.name for folder in _folders(images / "train")]
    others = [folder.name for folder in _folders(images / test)]
    if classes != others:
        differing = sorted(set(classes) ^ set(others))
        raise ValueError(f"{images / 'train'} and {images / test} have different classes, e.g. {differing[0]}.")
    splits = {"train": images / "train", "test": images / test}
    return {
        name: {path: number for number, one in enumerate(classes) for path in _pictures(folder / one, images)}
        for name, folder in splits.items()
    }


def divide(images: Path, share: float) -> dict[str, Split]:
    """A train and a test split of ``images``, a folder of class folders; ``share`` of each class is for testing.

    Raises:
        ValueError: no such folder or no pictures, ``share`` is not between 0 and 1, or leaves a class without one.
    """
    if not 0 < share < 1:
        raise ValueError(f"--test={share} is no share between 0 and 1.")
    train: Split = {}
    test: Split = {}
    for number, folder in enumerate(_folders(images)):
        paths = sorted(_pictures(folder, images), key=lambda path: hashlib.sha256(path.encode()).digest())
        cut = round(share * len(paths))
        if not 0 < cut < len(paths):
            raise ValueError(f"{folder} has {len(paths)} pictures, too few for both splits.")
        test |= dict.fromkeys(sorted(paths[:cut]), number)
        train |= dict.fromkeys(sorted(paths[cut:]), number)
    return {"train": train, "test": test}


def _folders(parent: Path) -> list[Path]:
    if not parent.is_dir():
        raise ValueError(f"{parent} is not a folder.")
    found = sorted(path for path in parent.iterdir() if path.is_dir())
    if not found:
        raise ValueError(f"{parent} holds no folders, where one for each class is expected.")
    return found


def _pictures(folder: Path, images: Path) -> list[str]:
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not found:
        raise ValueError(f"{folder} holds no pictures ({', '.join(sorted(SUFFIXES))}).")
    return [path.relative_to(images).as_posix() for path in found]


if __name__ == "__main__":
    sys.exit(main())
