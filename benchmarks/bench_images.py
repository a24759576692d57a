"""Whether reading images keeps up with training: images per second of either, and of both together.

``python -m benchmarks.bench_images`` writes JPEG files of the size that the fine-grained sets have, lets the runner's
own reader decode, resize, crop and flip them as the FGVC recipe says, and trains a ViT-Ti/16 with random weights at 224
pixels on the same cores: once on a batch that is read already, once on files. With ``--images FOLDER`` the files are
those below FOLDER. Writes benchmarks/images.json; nothing asserts these figures.
"""

import argparse
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from PIL import Image
from torch import Tensor

from benchmarks.conditions import conditions
from wegeft import models
from wegeft.cli import CONFIG_FOLDER, to_run_config
from wegeft.config import RunConfig
from wegeft.methods import build_method
from wegeft.methods.base import Method
from wegeft.tasks.image import ImageProtocol, ImageTaskConfig
from wegeft.tasks.image_source import ImageExample
from wegeft.tasks.image_transform import Transform
from wegeft.training.image_objective import ImageItem, ImageObjective
from wegeft.training.loop import train

RESULT = Path(__file__).with_name("images.json")
WIDTH, HEIGHT = 500, 375
"""Of most files of CUB-200-2011, NABirds aside; the longer side of many sets is 500."""
QUALITY = 92
WANTED_RATIO = 3.0
TASK = ("scale=paper", "task=fgvc/cub", "model.architecture.name=vit_tiny_patch16_224", "model.weights=random")


def main() -> None:
    """Time and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=Path, help="folder of image files; by default they are made")
    parser.add_argument("--files", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds after one that warms up")
    parser.add_argument("--methods", nargs="+", default=["wegeft", "lora"])
    options = parser.parse_args()
    circumstances = conditions()
    with tempfile.TemporaryDirectory() as made:
        paths = sorted(found(options.images) if options.images else written(Path(made), options.files))
        items = [ImageItem(ImageExample(path.name, path, 0)) for path in paths[: options.files]]
        reading = reading_rates(items, options.rounds)
        training = {name: training_rates(name, items, options.rounds) for name in options.methods}
    fastest = max(statistics.median(rates["read before"]) for rates in training.values())
    report = {
        "files": {"number": len(items), "made": options.images is None, "width": WIDTH, "height": HEIGHT},
        "images_per_second": {"reading": reading, "training": training},
        "ratio": statistics.median(reading) / fastest,
        "wanted_ratio": WANTED_RATIO,
        **circumstances,
    }
    RESULT.write_text(json.dumps(report, indent=1) + "\n")
    for name, rates in training.items():
        print(f"{name}: " + ", ".join(f"{statistics.median(r):.1f} images/s {kind}" for kind, r in rates.items()))
    print(f"reading {statistics.median(reading):.1f} images/s, {report['ratio']:.2f} times the fastest training")


def found(folder: Path) -> Iterator[Path]:
    """Image files below ``folder``."""
    return (path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))


def written(folder: Path, count: int) -> Iterator[Path]:
    """``count`` JPEG files with detail at every scale, so that decoding them takes what a photograph takes."""
    generator = np.random.default_rng(0)
    for number in range(count):
        picture = np.zeros((HEIGHT, WIDTH, 3))
        for cells in (4, 16, 64, 256):
            coarse = generator.normal(0, 180 / cells**0.5, (cells, cells, 3))
            channels = [Image.fromarray(coarse[:, :, c].astype(np.float32)).resize((WIDTH, HEIGHT)) for c in range(3)]
            picture += np.stack([np.asarray(channel) for channel in channels], axis=-1)
        buffer = io.BytesIO()
        Image.fromarray(np.clip(picture + 128, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=QUALITY)
        path = folder / f"{number:05}.jpg"
        path.write_bytes(buffer.getvalue())
        yield path


def configuration(method: str) -> RunConfig:
    """The FGVC recipe with a smaller backbone."""
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        return to_run_config(compose("config", overrides=[*TASK, f"method={method}"]))


def objective(config: RunConfig) -> ImageObjective:
    """The objective that a run of ``config`` has."""
    group = {key: value for key, value in config.task.items() if key != "_target_"}
    task, protocol = ImageTaskConfig.model_validate(group), config.protocol
    assert isinstance(protocol, ImageProtocol)
    return ImageObjective(
        Transform(task.train_transform), task.normalisation, positions=197, label_smoothing=protocol.label_smoothing
    )


def reading_rates(items: list[ImageItem], rounds: int) -> list[float]:
    """Images per second from files to a batch of pixels, all cores at it."""
    config = configuration("none")
    images, size = objective(config), config.training.batch_size

    def read() -> None:
        for first in range(0, len(items), size):
            images.collate(images.draw(items[first : first + size]), "padded")

    return rates(read, len(items), rounds)


def training_rates(name: str, items: list[ImageItem], rounds: int) -> dict[str, list[float]]:
    """Images per second of optimiser steps, on pixels that are there and by the runner's own loop on files."""
    config = configuration(name)
    torch.manual_seed(config.seed)
    backbone = models.load(config.model, torch.device("cpu"))
    method = build_method(config.method)
    method.attach(backbone.model, config.model.head_modules)
    images, size = objective(config), config.training.batch_size
    batch = images.collate(images.draw(items[:size]), "padded")
    steps = max(1, len(items) // size)
    limited = config.training.model_copy(update={"max_steps": steps})
    return {
        "read before": rates(lambda: step(method, images, batch), size, rounds),
        "from files": rates(lambda: train(method, items, images, limited, config.seed), steps * size, 1),
    }


def step(method: Method, images: ImageObjective, batch: Any) -> None:
    """Forward, backward, and the gradients dropped."""
    method.backbone.train()
    loss: Tensor = images.loss_sum(method.backbone, batch)
    loss.backward()
    for parameter in method.trainable().values():
        parameter.grad = None


def rates(work: Callable[[], Any], images: int, rounds: int) -> list[float]:
    """Images per second of ``work`` on so many, in each round after the first."""
    seconds = []
    for turn in range(rounds + 1):
        started = time.perf_counter()
        work()
        if turn:
            seconds.append(time.perf_counter() - started)
    return [images / one for one in seconds]


if __name__ == "__main__":
    main()
