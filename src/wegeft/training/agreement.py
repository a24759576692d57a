"""Two shortcuts of the training, tried on two short texts before the first step: the loss must be that of the long way.

Logits where there are labels alone must be those that the backbone computes itself, which evaluation goes by, and
examples in one row (``training.batching=flat``) must not read each other. Whether they do is a matter of the code of
the architecture, so it is tried and not looked up.

Does not: try what is compiled, or texts of the length of a training example.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wegeft.config import TrainingConfig
from wegeft.errors import UserError
from wegeft.tasks.encoding import IGNORE_INDEX, Encoded, TextEncoder
from wegeft.training.as_it_was import as_it_was
from wegeft.training.flat_attention import flat_attention
from wegeft.training.objective import Batch, labelled_positions
from wegeft.training.transfer import batch_to_device

LENGTHS = (16, 11)
"""Tokens that are kept of the two texts: unlike, so that one of them is padded."""

TOLERANCE = {2: 0.05, 4: 0.01, 8: 0.01}
"""Difference of the losses that is put down to rounding, as a part of them, by the bytes of a number."""


@torch.no_grad()
def check_agreement(model: nn.Module, encoder: TextEncoder, items: Sequence[Encoded], config: TrainingConfig) -> None:
    """Refuse a backbone whose loss another way of computing it does not confirm; leaves everything as it was.

    With sharded weights all processes call this together.

    Args:
        model: a causal LM, adapted.
        encoder: collates.
        items: training examples, of which two are tried.
        config: how batches are made.

    Raises:
        UserError: a shortcut gives another loss.
    """
    if not items:
        return
    texts = [_beginning(items[index], length) for index, length in zip((0, -1), LENGTHS, strict=True)]
    device = next(model.parameters()).device
    with as_it_was(model):
        model.eval()
        padded = batch_to_device(encoder.collate_train(texts), device)
        ours_N = _losses(model, padded)
        _compare(
            model,
            ours_N,
            _own_losses(model, padded),
            "The training computes logits where there are labels, and in {backbone} that gives another loss than the "
            "backbone's own logits ({difference:.1%} apart): choose another model.",
        )
        if config.batching == "padded":
            return
        with nullcontext() if config.compile else flat_attention(model):
            flat_N = _losses(model, batch_to_device(encoder.collate_flat(texts), device))
        _compare(
            model,
            flat_N,
            ours_N,
            "training.batching=flat: the examples of a batch change each other's loss in {backbone} "
            "({difference:.1%} apart); set training.batching=padded.",
        )


def _beginning(item: Encoded, length: int) -> Encoded:
    """The first ``length`` positions, with a label wherever one can be."""
    ids, mask = item.input_ids[:length], item.attention_mask[:length]
    first = mask.index(1) + 1 if 1 in mask else len(mask)
    return Encoded(ids, [IGNORE_INDEX] * first + ids[first:], mask)


def _losses(model: nn.Module, batch: Batch) -> Tensor:
    """Loss of every label, as the training computes it."""
    inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
    head, hidden_ND, targets_N = labelled_positions(model, inputs, batch["labels"])
    return F.cross_entropy(head(hidden_ND).float(), targets_N, reduction="none")


def _own_losses(model: nn.Module, batch: Batch) -> Tensor:
    """The same from the logits that the model gives when it is called."""
    inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
    targets_BL = batch["labels"][:, 1:]
    trained_BL = targets_BL != IGNORE_INDEX
    logits_BLV: Tensor = model(**inputs, use_cache=False).logits[:, :-1]
    return F.cross_entropy(logits_BLV[trained_BL].float(), targets_BL[trained_BL], reduction="none")


def _compare(model: Any, found_N: Tensor, expected_N: Tensor, sentence: str) -> None:
    # Of at least a nat per label: where the losses are next to nothing, so is what rounding leaves of them.
    difference = ((found_N - expected_N).norm() / expected_N.clamp(min=1).norm()).item()
    if difference > TOLERANCE[model.dtype.itemsize]:  # not so if it is not a number, which the loop reports
        backbone = f"models of type {model.config.model_type}"
        raise UserError(sentence.format(backbone=backbone, difference=difference))
