"""What the loop minimises, as a sum over units: label tokens for text, later images for vision.

A sum and a count instead of a mean, so that a step's loss is the sum over the global batch divided by the units of the
global batch, however it is cut into micro-batches or spread over devices (a mean of means weighs short examples more).

Does not: know optimisers, devices or methods.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from wegeft.tasks.encoding import Encoded, TextEncoder

Batch = Mapping[str, Tensor]
Item = TypeVar("Item", contravariant=True)

IGNORED = -100
"""Label of a position that is not trained (the convention of torch's cross_entropy)."""


class Objective(Protocol[Item]):
    """How a list of prepared examples becomes a number to minimise."""

    def collate(self, items: Sequence[Item]) -> Batch:
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

    def __init__(self, encoder: "TextEncoder") -> None:
        self._encoder = encoder

    def collate(self, items: "Sequence[Encoded]") -> Batch:
        """``input_ids_BL``, ``attention_mask_BL`` and ``labels_BL`` as the protocol pads them."""
        return self._encoder.collate_train(items)

    def units(self, items: "Sequence[Encoded]") -> int:
        """Label tokens; the first position of a sequence has no prediction and never counts."""
        return sum(label != IGNORED for item in items for label in item.labels[1:])

    def tokens(self, items: "Sequence[Encoded]") -> int:
        """Input tokens without padding."""
        return sum(len(item.input_ids) for item in items)

    def loss_sum(self, model: nn.Module, batch: Batch) -> Tensor:
        """Cross-entropy summed over label tokens, in nats."""
        inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
        return label_only_loss_sum(model, inputs, batch["labels"])


def label_only_loss_sum(model: nn.Module, inputs: Batch, labels_BL: Tensor) -> Tensor:
    """Summed next-token cross-entropy, with logits only where ``labels_BL`` is not :data:`IGNORED`.

    Args:
        model: a transformers causal LM (its decoder is ``base_model``, its head ``get_output_embeddings()``).
        inputs: what the decoder takes (``input_ids``, ``attention_mask`` …), each (B, L).
        labels_BL: int64 token ids; position l is predicted from position l - 1.

    Returns:
        fp32 scalar, in nats.
    """
    unwrapped: Any = getattr(model, "module", model)
    hidden_BLD = unwrapped.base_model(**inputs, use_cache=False).last_hidden_state
    targets_BL = labels_BL[:, 1:]
    trained_BL = targets_BL != IGNORED
    hidden_ND = hidden_BLD[:, :-1][trained_BL]
    logits_NV = unwrapped.get_output_embeddings()(hidden_ND)
    return F.cross_entropy(logits_NV.float(), targets_BL[trained_BL], reduction="sum")


def full_logits_loss_sum(model: nn.Module, inputs: Batch, labels_BL: Tensor) -> Tensor:
    """The same number from the logits of every position; the reference that tests and benchmarks compare with."""
    logits_BLV: Tensor = model(**inputs, use_cache=False).logits
    return F.cross_entropy(
        logits_BLV[:, :-1].float().flatten(0, 1),
        torch.as_tensor(labels_BL)[:, 1:].flatten(),
        ignore_index=IGNORED,
        reduction="sum",
    )
