"""What the loop minimises, as a sum over units: label tokens for text, images for vision.

A sum and a count instead of a mean, so that a step's loss is the sum over the global batch divided by the units of the
global batch, however it is cut into micro-batches or spread over devices (a mean of means weighs short examples more).

Does not: know optimisers, devices or methods.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from wegeft.tasks.encoding import IGNORE_INDEX, Encoded, TextEncoder
from wegeft.training.head import Head

Batch = Mapping[str, Tensor]
Item = TypeVar("Item")

Batching = Literal["padded", "flat"]
"""``padded``: one row per example; ``flat``: examples one after the other in one row, attention kept apart."""

CHUNK_ELEMENTS = 2**26
"""Most logits held at once: 256 MiB in fp32. Masked prompts stay far below it; a loss on the inputs does not."""


class Objective(Protocol[Item]):
    """How a list of prepared examples becomes a number to minimise."""

    def draw(self, items: Sequence[Item]) -> Sequence[Item]:
        """The examples of one step with their random choices (augmentation) made.

        Called once a step, before it is cut into micro-batches, which then cannot change what is drawn.
        """

    def expect(self, items: Sequence[Item]) -> None:
        """Told the drawn examples of the step after the one that is computed now, to begin to read them."""

    def collate(self, items: Sequence[Item], batching: Batching) -> Batch:
        """The examples as one batch of tensors."""

    def units(self, items: Sequence[Item]) -> int:
        """How many units (label tokens, images) the examples hold."""

    def tokens(self, items: Sequence[Item]) -> int:
        """How many positions the network processes for them, padding excluded."""

    def loss_sum(self, model: nn.Module, batch: Batch) -> Tensor:
        """Loss summed over the units of ``batch``; a scalar in fp32."""


class CausalLMObjective:
    """Next-token cross-entropy at the label positions of a decoder-only language model.

    Logits are computed only where there is a label: with the prompt masked, a few positions of an example, so the
    (B·L, V) logits, the largest tensor of a step, shrink to (N, V).
    """

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder = encoder

    def draw(self, items: Sequence[Encoded]) -> Sequence[Encoded]:
        """The examples as they are; text has no augmentation."""
        return items

    def expect(self, items: Sequence[Encoded]) -> None:
        """Nothing to read: texts are encoded before the first step."""

    def collate(self, items: Sequence[Encoded], batching: Batching) -> Batch:
        """(B, L) tensors as the protocol pads them, or (1, N) tensors without padding: the same loss to rounding."""
        return self._encoder.collate_flat(items) if batching == "flat" else self._encoder.collate_train(items)

    def units(self, items: Sequence[Encoded]) -> int:
        """Label tokens; the first position of a sequence has no prediction and never counts."""
        return sum(label != IGNORE_INDEX for item in items for label in item.labels[1:])

    def tokens(self, items: Sequence[Encoded]) -> int:
        """Input tokens without padding."""
        return sum(len(item.input_ids) for item in items)

    def loss_sum(self, model: nn.Module, batch: Batch) -> Tensor:
        """Cross-entropy summed over label tokens, in nats."""
        inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
        return label_only_loss_sum(model, inputs, batch["labels"])


def label_only_loss_sum(model: nn.Module, inputs: Batch, labels_BL: Tensor) -> Tensor:
    """Summed next-token cross-entropy, with logits only where ``labels_BL`` is not :data:`IGNORE_INDEX`.

    Args:
        model: a transformers causal LM (its decoder is ``base_model``, its head ``get_output_embeddings()``).
        inputs: what the decoder takes (``input_ids``, ``attention_mask`` …), each (B, L).
        labels_BL: int64 token ids; position l is predicted from position l - 1.

    Returns:
        fp32 scalar, in nats.
    """
    return chunked_loss_sum(*labelled_positions(model, inputs, labels_BL))


def labelled_positions(model: nn.Module, inputs: Batch, labels_BL: Tensor) -> tuple[Head, Tensor, Tensor]:
    """What :func:`label_only_loss_sum` sums over: the head, hidden states before a label (N, D) and the labels (N,)."""
    unwrapped: Any = getattr(model, "module", model)
    output = unwrapped.base_model(**inputs, use_cache=False)
    targets_BL = labels_BL[:, 1:]
    trained_BL = targets_BL != IGNORE_INDEX
    return Head(unwrapped, output), output.last_hidden_state[:, :-1][trained_BL], targets_BL[trained_BL]


def chunked_loss_sum(head: Head, hidden_ND: Tensor, targets_N: Tensor) -> Tensor:
    """Summed cross-entropy of ``head(hidden_ND)``, never holding more than :data:`CHUNK_ELEMENTS` logits at once.

    Where there are more, each chunk's logits are computed again in backward instead of being kept.
    """
    chunk = max(1, CHUNK_ELEMENTS // head.vocabulary)
    if len(targets_N) <= chunk:
        return _loss_sum(head, hidden_ND, targets_N)
    parts = zip(hidden_ND.split(chunk), targets_N.split(chunk), strict=True)
    losses = [checkpoint(_loss_sum, head, hidden, targets, use_reentrant=False) for hidden, targets in parts]
    return torch.stack(losses).sum()


def _loss_sum(head: Head, hidden_ND: Tensor, targets_N: Tensor) -> Tensor:
    return F.cross_entropy(head(hidden_ND).float(), targets_N, reduction="sum")


def full_logits_loss_sum(model: nn.Module, inputs: Batch, labels_BL: Tensor) -> Tensor:
    """The same number from the logits of every position; the reference that tests and benchmarks compare with."""
    logits_BLV: Tensor = model(**inputs, use_cache=False).logits
    return F.cross_entropy(
        logits_BLV[:, :-1].float().flatten(0, 1),
        torch.as_tensor(labels_BL)[:, 1:].flatten(),
        ignore_index=IGNORE_INDEX,
        reduction="sum",
    )
