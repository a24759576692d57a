"""A small vision transformer with the norms after the residual sums, as torch's encoder layers have them by default.

timm's transformers have them before. Modules are called as timm calls them, so that every method finds its places.

Does not: load weights (``wegeft.models.image_classifier`` does).
"""

import torch
from timm.layers.attention import Attention
from timm.layers.drop import DropPath
from timm.layers.mlp import Mlp
from timm.layers.patch_embed import PatchEmbed
from torch import Tensor, nn


class PostNormBlock(nn.Module):
    """x → n₁(x + attention(x)) → n₂(x + mlp(x)), with ReLU in the perceptron."""

    def __init__(self, width: int, heads: int, hidden: int, drop_path: float) -> None:
        super().__init__()
        self.attn = Attention(width, num_heads=heads, qkv_bias=True)
        self.norm1 = nn.LayerNorm(width)
        self.mlp = Mlp(width, hidden, act_layer=nn.ReLU)
        self.norm2 = nn.LayerNorm(width)
        self.drop_path = DropPath(drop_path)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        x_BLD = self.norm1(x_BLD + self.drop_path(self.attn(x_BLD)))
        y_BLD: Tensor = self.norm2(x_BLD + self.drop_path(self.mlp(x_BLD)))
        return y_BLD


class PostNormViT(nn.Module):
    """Patches, class token, learned positions, post-norm blocks, norm and linear head on the class token."""

    num_prefix_tokens = 1

    def __init__(
        self,
        img_size: int,
        patch_size: int,
        embed_dim: int,
        depth: int,
        num_heads: int,
        mlp_width: int,
        num_classes: int,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(img_size, patch_size, embed_dim=embed_dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 1 + self.patch_embed.num_patches, embed_dim))
        rates = [drop_path_rate * index / max(1, depth - 1) for index in range(depth)]  # deeper, likelier, as in timm
        self.blocks = nn.Sequential(*(PostNormBlock(embed_dim, num_heads, mlp_width, rate) for rate in rates))
        self.norm = nn.LayerNorm(embed_dim)
        self.head = nn.Linear(embed_dim, num_classes)

    def forward_features(self, image_BCHW: Tensor) -> Tensor:
        """Images (B, C, H, W) to normed tokens (B, L, D)."""
        patches_BND = self.patch_embed(image_BCHW)
        x_BLD = torch.cat([self.cls_token.expand(len(patches_BND), -1, -1), patches_BND], dim=1) + self.pos_embed
        features_BLD: Tensor = self.norm(self.blocks(x_BLD))
        return features_BLD

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Images (B, C, H, W) to logits (B, K)."""
        logits_BK: Tensor = self.head(self.forward_features(image_BCHW)[:, 0])
        return logits_BK
