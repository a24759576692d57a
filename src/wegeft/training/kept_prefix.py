"""Image training that computes the frozen part of the network once per image and starts behind it in every epoch.

Worth it where the same pixels come again, so only without augmentation. Outputs are computed before the first step, in
the order and in batches of the examples, whatever the order of training, so that a run that goes on after an
interruption starts from the same bits. They lie in host memory.

Does not: keep anything between runs, or help evaluation, which sees every image once.
"""

import sys
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from wegeft.config import TrainingConfig
from wegeft.progress import progress
from wegeft.rank import is_first
from wegeft.training.distributed import is_sharded
from wegeft.training.frozen_prefix import FrozenPrefix, find_prefix
from wegeft.training.image_objective import ImageItem, ImageObjective
from wegeft.training.objective import Batch, Batching
from wegeft.training.schedule import total_steps

GB = 1e9


class KeptPrefixObjective:
    """See :class:`wegeft.training.objective.Objective`; an `ImageObjective` on kept outputs of the frozen prefix."""

    def __init__(
        self, images: ImageObjective, prefix: FrozenPrefix, blank_1CHW: Tensor, rows: dict[str, int], kept_NX: Tensor
    ) -> None:
        self._images = images
        self._prefix = prefix
        self._blank_1CHW = blank_1CHW
        self._rows = rows
        self._kept_NX = kept_NX

    @property
    def prefix(self) -> FrozenPrefix:
        """What is not computed again."""
        return self._prefix

    def draw(self, items: Sequence[ImageItem]) -> Sequence[ImageItem]:
        """As `ImageObjective.draw`: nothing, where nothing is random."""
        return self._images.draw(items)

    def expect(self, items: Sequence[ImageItem]) -> None:
        """Nothing is read any more."""

    def collate(self, items: Sequence[ImageItem], batching: Batching) -> Batch:
        """``kept_BX``, what arrives behind the prefix, and ``labels_B`` (int64)."""
        del batching
        rows_B = torch.tensor([self._rows[item.example.uid] for item in items])
        return {"kept_BX": self._kept_NX[rows_B], "labels_B": torch.tensor([item.example.label for item in items])}

    def units(self, items: Sequence[ImageItem]) -> int:
        """Images."""
        return self._images.units(items)

    def tokens(self, items: Sequence[ImageItem]) -> int:
        """Positions of the transformer, as if it were run whole."""
        return self._images.tokens(items)

    def loss_sum(self, model: nn.Module, batch: Batch) -> Tensor:
        """As `ImageObjective.loss_sum`."""
        logits_BK = self._prefix.resume(model, self._blank_1CHW, batch["kept_BX"])
        return self._images.cross_entropy_sum(logits_BK, batch["labels_B"])


def keep_prefix(
    images: ImageObjective, items: Sequence[ImageItem], model: nn.Module, config: TrainingConfig
) -> "ImageObjective | KeptPrefixObjective":
    """``images``, or the same on outputs of the frozen prefix of ``model`` where these can be and are worth keeping.

    Left out without a word: augmentation, a training that sees no image twice, nothing frozen behind the embedding,
    recomputed activations and sharded weights. With a word: outputs that exceed ``training.prefix_cache_gb``.

    Args:
        images: the objective.
        items: all training images.
        model: adapted, in evaluation mode, on its device.
        config: sizes.
    """
    seen = total_steps(config, len(items)) * config.batch_size
    if images.is_random or config.gradient_checkpointing or is_sharded(model) or seen <= len(items):
        return images
    if not config.prefix_cache_gb:
        return images
    first = images.input(images.pixels(items[:2]), model)
    prefix = find_prefix(model, first) if len(first) > 1 else None
    if prefix is None:
        return images
    sample_BX = prefix.output(model, first)
    size = len(items) * sample_BX[0].nbytes
    if size > config.prefix_cache_gb * GB:
        _say(
            f"everything before {prefix.name} is frozen, but its output for {len(items)} images takes "
            f"{size / GB:.1f} GB of training.prefix_cache_gb={config.prefix_cache_gb:g}: it is computed in every epoch"
        )
        return images
    kept_NX = torch.empty(len(items), *sample_BX.shape[1:], dtype=sample_BX.dtype)
    _fill(kept_NX, images, items, model, prefix, config.batch_size)
    _say(f"everything before {prefix.name} is frozen and was computed once: {size / GB:.3f} GB are kept")
    rows = {item.example.uid: row for row, item in enumerate(items)}
    return KeptPrefixObjective(images, prefix, torch.zeros_like(first[:1]), rows, kept_NX)


def _fill(
    kept_NX: Tensor,
    images: ImageObjective,
    items: Sequence[ImageItem],
    model: nn.Module,
    prefix: FrozenPrefix,
    batch_size: int,
) -> None:
    """Write what the prefix makes of every image into ``kept_NX``, in host memory."""
    with progress(len(items), "frozen prefix") as advance:
        for first in range(0, len(items), batch_size):
            images.expect(items[first + batch_size : first + 2 * batch_size])
            batch = items[first : first + batch_size]
            kept_NX[first : first + len(batch)] = prefix.output(model, images.input(images.pixels(batch), model))
            advance(len(batch))


def _say(sentence: str) -> None:
    if is_first():
        print(sentence, file=sys.stderr)
