"""What a classifier of sentences minimises: cross-entropy, or the squared error where the label is a score.

Does not: know optimisers, devices or metrics.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from wegeft.tasks.sentence_encoding import EncodedPair, SentenceEncoder
from wegeft.training.objective import Batch, Batching


class SentenceObjective:
    """See :class:`wegeft.training.objective.Objective`; the unit is an example."""

    def __init__(self, encoder: SentenceEncoder) -> None:
        self._encoder = encoder

    def draw(self, items: Sequence[EncodedPair]) -> Sequence[EncodedPair]:
        """The examples as they are; text has no augmentation."""
        return items

    def expect(self, items: Sequence[EncodedPair]) -> None:
        """Nothing to read: texts are encoded before the first step."""

    def collate(self, items: Sequence[EncodedPair], batching: Batching) -> Batch:
        """Padded on the right; a classifier reads whole rows, so there is no flat form of them."""
        del batching
        return self._encoder.collate(items)

    def units(self, items: Sequence[EncodedPair]) -> int:
        """Examples."""
        return len(items)

    def tokens(self, items: Sequence[EncodedPair]) -> int:
        """Input tokens without padding."""
        return sum(len(item.input_ids) for item in items)

    def loss_sum(self, model: nn.Module, batch: Batch) -> Tensor:
        """Cross-entropy in nats, or the squared error of one output, summed over examples."""
        logits_BK = logits(model, batch)
        labels_B = batch["labels_B"]
        if logits_BK.shape[1] == 1:
            return F.mse_loss(logits_BK[:, 0], labels_B, reduction="sum")
        return F.cross_entropy(logits_BK, labels_B.long(), reduction="sum")


def logits(model: nn.Module, batch: Batch) -> Tensor:
    """The head's outputs for ``batch`` in fp32, (B, K)."""
    classifier: Any = model
    found: Tensor = classifier(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    return found.float()
