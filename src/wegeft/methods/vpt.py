"""VPT: trained tokens beside those of the image (Jia et al., arXiv 2203.12119).

Prompts stand after the class token and have no position of their own. Deep: every block gets fresh ones in the place of
the outputs that the block before made of its own; shallow: the first block gets some, and they go through the network.
They start uniform in ±√(6 / (3·P² + D)) for patches of P pixels and width D (KMnP/vpt). No weight can take them in.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from wegeft.errors import UserError
from wegeft.methods.base import MethodConfig
from wegeft.methods.linear import cast_like, uniform
from wegeft.methods.wrapping import Wrapper, WrappingMethod


class VPTConfig(MethodConfig):
    """Keys of VPT.

    Attributes:
        tokens: number of prompts T of a block.
        deep: fresh prompts for every block.
    """

    tokens: int = Field(ge=1)
    deep: bool


class PromptedBlock(Wrapper):
    """A block of a transformer that sees prompts.

    Attributes:
        first: where prompts stand, after the tokens that are no patches.
        replaces: whether its own prompts take the places of those that it is given.
        drops: how many prompts it takes out of its output.
    """

    def __init__(self, base: nn.Module, prompts: Prompts | None, first: int, replaces: bool, drops: int) -> None:
        super().__init__(base)
        self._prompts = (prompts,)  # in a tuple, so that it is no submodule: it lives in the method
        self.first, self.replaces, self.drops = first, replaces, drops

    def forward(self, x_BLD: Tensor, *arguments: Any, **options: Any) -> Tensor:
        """(B, L, D), with prompts among L where the block before left some and this one drops none."""
        prompts = self._prompts[0]
        if prompts is not None:
            (prompts_TD,) = cast_like(x_BLD, prompts.prompts_TD)
            rest = self.first + (len(prompts_TD) if self.replaces else 0)
            x_BLD = torch.cat([x_BLD[:, : self.first], prompts_TD.expand(len(x_BLD), -1, -1), x_BLD[:, rest:]], dim=1)
        y_BLD: Tensor = self.base(x_BLD, *arguments, **options)
        if not self.drops:
            return y_BLD
        return torch.cat([y_BLD[:, : self.first], y_BLD[:, self.first + self.drops :]], dim=1)


class Prompts(nn.Module):
    """The prompts of one block, (T, D)."""

    def __init__(self, tokens: int, width: int, patch: int, device: torch.device) -> None:
        super().__init__()
        self.prompts_TD = uniform((tokens, width), (3 * patch**2 + width) / 6, device, torch.float32)


class VPT(WrappingMethod):
    """Prompts for the blocks of a vision transformer."""

    Config: ClassVar[type[MethodConfig]] = VPTConfig
    config: VPTConfig
    families: ClassVar[frozenset[str]] = frozenset({"image_classifier"})
    identity_at_init = False
    mergeable = False

    def insert(self, backbone: nn.Module) -> None:
        """Freeze the backbone and prepare the blocks that will stand in it."""
        blocks, embed = getattr(backbone, "blocks", None), getattr(backbone, "patch_embed", None)
        if not isinstance(blocks, nn.Sequential) or embed is None:
            raise UserError(f"method={self.config.name} needs a vision transformer with patch_embed and blocks.")
        weight = embed.proj.weight
        backbone.requires_grad_(False)
        prompted = range(len(blocks) if self.config.deep else 1)
        self.prompts = nn.ModuleList(
            Prompts(self.config.tokens, weight.shape[0], weight.shape[-1], weight.device) for _ in prompted
        )
        first: Any = backbone.num_prefix_tokens
        self._wrappers = {
            f"blocks.{index}": PromptedBlock(
                block,
                self._prompts_of(index),
                first,
                replaces=index > 0,
                drops=self.config.tokens if index == len(blocks) - 1 else 0,
            )
            for index, block in enumerate(blocks)
        }

    def _prompts_of(self, index: int) -> Prompts | None:
        found = self.prompts[index] if index < len(self.prompts) else None
        assert found is None or isinstance(found, Prompts)
        return found
