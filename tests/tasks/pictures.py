"""Small coloured pictures on disk, in the layout of the fine-grained sets, and a tiny vision transformer for them."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 48
CLASSES = ("003.Red", "007.Green", "010.Blue")
SIZES = ("img_size=32", "patch_size=8", "embed_dim=32", "depth=2", "num_heads=2")
ARCHITECTURE = ("model.architecture.name=vit_tiny_patch16_224", *(f"+model.architecture.{size}" for size in SIZES))
"""Of the size that `TRANSFORMS` make."""
TRANSFORMS = tuple(f"task.{part}_transform.{key}" for part in ("train", "test") for key in ("resize=40", "crop=32"))


def write_pictures(root: Path, per_class: dict[str, int] | None = None) -> Path:
    """`root`/CUB_200_2011/images and `root`/fgvc_splits/cub: each class has its colour, with noise, in two shapes."""
    generator = np.random.default_rng(0)
    for split, count in (per_class or {"train": 8, "val": 2, "test": 4}).items():
        listed: dict[str, str] = {}
        for channel, folder in enumerate(CLASSES):
            for number in range(count):
                name = f"{folder}/{split}_{number}.{'png' if number % 2 else 'jpg'}"
                shape = (SIZE, SIZE + 16, 3) if number % 3 else (SIZE + 16, SIZE, 3)
                pixels = generator.integers(0, 80, shape, dtype=np.uint8)
                pixels[:, :, channel] += 150
                path = root / "CUB_200_2011" / "images" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
                listed[name] = folder.partition(".")[0]
        target = root / "fgvc_splits" / "cub" / f"{split}.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(listed))
    return root


def picture_run(root: Path, *overrides: str) -> tuple[str, ...]:
    """The command line of a run on `write_pictures`, with random weights that are scored all the same."""
    return (
        "task=fgvc/cub",
        f"data.root={root}",
        "task.classes=3",
        "task.source.expected_images={}",
        "model.weights=random",
        "model.untrained_control=true",
        *ARCHITECTURE,
        *TRANSFORMS,
        "training.batch_size=8",
        "training.epochs=2",
        *overrides,
    )
