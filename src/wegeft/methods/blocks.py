"""What can stand between the factors, B = block(Wφ): the ablations of the official code; nothing, by default.

The O rows of Wφ are the tokens and R their width, so a block may mix channels (gelu, sigmoid, mlp), rows (mlp_mixer)
or both (transformer). Normalisation is to unit length per row, as in the official code. Only the generated form can
hold a block; the exported LoRA and the merged weight include it.

Does not: reproduce the clustering blocks of the official code (pamcat), which no reported number uses.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

BlockName = Literal["identity", "gelu", "sigmoid", "mlp", "mlp_mixer", "transformer"]

_RATIO = 2
"""Hidden width of a perceptron over its input's, the default of the official code."""


class UnitRows(nn.Module):
    """Rows scaled to unit length."""

    def forward(self, x_OR: Tensor) -> Tensor:
        """(O, R) to (O, R)."""
        unit_OR: Tensor = F.normalize(x_OR, dim=-1)
        return unit_OR


class Residual(nn.Module):
    """x + f(x / ‖x‖), f over channels, or over rows if ``across_rows``."""

    def __init__(self, inner: nn.Module, across_rows: bool = False) -> None:
        super().__init__()
        self.norm = UnitRows()
        self.inner = inner
        self.across_rows = across_rows

    def forward(self, x_OR: Tensor) -> Tensor:
        """(O, R) to (O, R)."""
        normed_OR = self.norm(x_OR)
        change_OR: Tensor = self.inner(normed_OR.T).T if self.across_rows else self.inner(normed_OR)
        return x_OR + change_OR


class SelfAttention(nn.Module):
    """Multi-head self-attention among rows."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = next(heads for heads in (4, 2, 1) if width % heads == 0)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x_OR: Tensor) -> Tensor:
        """(O, R) to (O, R)."""
        rows, width = x_OR.shape
        query, key, value = self.qkv(x_OR).view(rows, 3, self.heads, width // self.heads).permute(1, 2, 0, 3)
        mixed = F.scaled_dot_product_attention(query[None], key[None], value[None])[0]
        output_OR: Tensor = self.out(mixed.transpose(0, 1).reshape(rows, width))
        return output_OR


def build_block(name: BlockName, rank: int, rows: int) -> nn.Module:
    """The block ``name`` for Wφ of shape (``rows``, ``rank``), with PyTorch's default initialisation."""
    match name:
        case "identity":
            return nn.Identity()
        case "gelu":
            return nn.GELU()
        case "sigmoid":
            return nn.Sigmoid()
        case "mlp":
            return Residual(_perceptron(rank, _RATIO * rank))
        case "mlp_mixer":
            mixer = Residual(_perceptron(rows, rank), across_rows=True)
            return nn.Sequential(mixer, Residual(_perceptron(rank, _RATIO * rank)))
        case "transformer":
            return nn.Sequential(Residual(SelfAttention(rank)), Residual(_perceptron(rank, _RATIO * rank)))


def _perceptron(width: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
