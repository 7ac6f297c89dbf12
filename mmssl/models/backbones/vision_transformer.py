"""VisionTransformer: ViT and DeiT, as DINO and EsViT train them with crops of several sizes.

"An Image is Worth 16x16 Words" (Dosovitskiy et al. 2021, arXiv 2010.11929), "Training data-efficient image
transformers" (Touvron et al. 2021, arXiv 2012.12877), "Emerging Properties in Self-Supervised Vision
Transformers" (Caron et al. 2021, arXiv 2104.14294; facebookresearch/dino), EsViT (Li et al. 2022, arXiv
2106.09785; microsoft/esvit). Parameters have the names of those codes, which are timm's.

Different from the official codes: images that are no whole number of patches are refused, where those
cut the rest off.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import torch
from mmengine.model import BaseModule, ModuleList
from timm.layers import DropPath
from torch import Tensor, nn

from mmssl.models.layers.feed_forward import FeedForward
from mmssl.models.layers.position_grid import PositionRule, resize_positions
from mmssl.models.layers.self_attention import SelfAttention
from mmssl.models.layers.truncated_init import init_truncated
from mmssl.registry import MODELS


class PatchProjection(BaseModule):
    """Images (N, 3, H, W) to maps (N, C, H / patch, W / patch): one linear map for each patch."""

    def __init__(self, dim: int, patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(3, dim, patch_size, patch_size)

    def forward(self, images: Tensor) -> Tensor:
        """Project the patches.

        Raises:
            ValueError: A side that is no whole number of patches.
        """
        sides, patch = images.shape[2:], self.patch_size
        if any(side % patch or side == 0 for side in sides):
            near = [(max(side // patch, 1) * patch, (side // patch + 1) * patch) for side in sides]
            raise ValueError(
                f"Images of {sides[0]} x {sides[1]} pixels are no whole number of {patch}-pixel patches. "
                f"Heights that fit nearby: {near[0][0]}, {near[0][1]}; widths: {near[1][0]}, {near[1][1]}."
            )
        return self.proj(images)


class TransformerBlock(BaseModule):
    """x + attn(norm1(x)), then x + mlp(norm2(x)), on tokens (N, T, C); each branch may be dropped."""

    def __init__(
        self, dim: int, num_heads: int, mlp_ratio: float, drop: float, norm_eps: float, qkv_bias: bool
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, norm_eps)
        self.attn = SelfAttention(dim, num_heads, qkv_bias=qkv_bias)
        self.norm2 = nn.LayerNorm(dim, norm_eps)
        self.mlp = FeedForward(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop) if drop > 0 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


@MODELS.register_module()
class VisionTransformer(BaseModule):
    """A Transformer on the patches of an image and a class token.

    ```
    tokens = [cls_token, proj(patches)] + positions
    tokens = tokens + attn(norm1(tokens)); tokens + mlp(norm2(tokens))      in each block
    view, regions = norm(tokens)[0], norm(tokens)[1:]
    ```

    DeiT-tiny / -small / ViT-base of DINO and EsViT: `embed_dims` 192 / 384 / 768, `num_heads` 3 / 6 / 12.

    Args:
        embed_dims: Channels of the tokens.
        depth: Blocks.
        num_heads: Heads of each attention.
        patch_size: Side of a patch, in pixels.
        pretrain_img_size: Side of the images whose grid of patches the position embeddings belong to,
            in pixels. Other grids take them by interpolation.
        pos_interp: Rule of the interpolation, `esvit` or `dino` (see `resize_positions`).
        mlp_ratio: Hidden over input channels of the feed-forward part.
        drop_path_rate: Of the last block; it grows linearly from 0.
        norm_eps: Epsilon of all layer norms.
        qkv_bias: Whether queries, keys and values have a bias.
        out_indices: Blocks whose patch tokens are returned as maps, ascending; negative numbers count
            from the end. The final norm goes over all of them; blocks behind the last do not exist.
        init_cfg: Weight initialisation of the mm family.

    Attributes:
        out_channels: Channels of the returned maps.
        strides: Pixels per position of the returned maps.

    Raises:
        ValueError: Blocks that do not exist, an unknown rule, heads that do not divide the channels, or
            a pretraining size that is no whole number of patches.

    Example:
        >>> backbone = VisionTransformer(12, depth=2, num_heads=3, patch_size=8, pretrain_img_size=32)
        >>> view, regions = backbone.view_and_map(torch.zeros(2, 3, 16, 24))
        >>> tuple(view.shape), tuple(regions.shape)
        ((2, 12), (2, 12, 2, 3))
    """

    def __init__(
        self,
        embed_dims: int = 384,
        *,
        depth: int = 12,
        num_heads: int = 6,
        patch_size: int = 16,
        pretrain_img_size: int = 224,
        pos_interp: PositionRule = "esvit",
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.1,
        norm_eps: float = 1e-6,
        qkv_bias: bool = True,
        out_indices: Sequence[int] = (-1,),
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        wanted = [index % depth for index in out_indices if -depth <= index < depth]
        if len(wanted) != len(out_indices) or not wanted or wanted != sorted(set(wanted)):
            raise ValueError(
                f"out_indices must be ascending blocks between {-depth} and {depth - 1}, "
                f"got {tuple(out_indices)}."
            )
        if pos_interp not in get_args(PositionRule):
            raise ValueError(f"pos_interp must be 'esvit' or 'dino', got {pos_interp!r}.")
        if pretrain_img_size % patch_size or pretrain_img_size < patch_size:
            raise ValueError(
                f"pretrain_img_size={pretrain_img_size} is no multiple of patch_size={patch_size}."
            )
        self.pos_interp = pos_interp
        self.out_indices = tuple(wanted)
        self.out_channels = [embed_dims] * len(wanted)
        self.strides = [patch_size] * len(wanted)
        self.patch_embed = PatchProjection(embed_dims, patch_size)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dims))
        positions = (pretrain_img_size // patch_size) ** 2
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + positions, embed_dims))
        last_block = max(depth - 1, 1)
        self.blocks = ModuleList(
            TransformerBlock(
                embed_dims,
                num_heads,
                mlp_ratio,
                drop_path_rate * number / last_block,
                norm_eps,
                qkv_bias,
            )
            for number in range(wanted[-1] + 1)
        )
        self.norm = nn.LayerNorm(embed_dims, norm_eps)

    def init_weights(self) -> None:
        """Linear weights, class token and positions truncated normal of deviation 0.02; then `init_cfg`."""
        init_truncated(self)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        super().init_weights()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Maps of the normalised patch tokens.

        Args:
            images: (N, 3, H, W) normalised images, sides whole numbers of patches.

        Returns:
            (N, C, H / patch, W / patch) for each of `out_indices`.
        """
        tokens, grid = self._tokens(images)
        maps = []
        for number, block in enumerate(self.blocks):
            tokens = block(tokens)
            if number in self.out_indices:
                maps.append(_to_map(self.norm(tokens), grid))
        return tuple(maps)

    def view_and_map(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The normalised class token (N, C) and the last map (N, C, H / patch, W / patch)."""
        tokens, grid = self._tokens(images)
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm(tokens)
        return tokens[:, 0], _to_map(tokens, grid)

    def last_blocks(self, images: Tensor, num_blocks: int, *, patch_mean: bool = False) -> Tensor:
        """Class tokens of the last blocks side by side: the features of the linear probe.

        The final norm goes over each of them (DINO, appendix F.2; EsViT's `eval_linear`).

        Args:
            images: (N, 3, H, W) normalised images.
            num_blocks: How many blocks count; 4 for the small networks, 1 for ViT-base.
            patch_mean: Append the mean of the last block's normalised patch tokens.

        Returns:
            (N, num_blocks * C), with `patch_mean` (N, (num_blocks + 1) * C).

        Raises:
            ValueError: There are not as many blocks.
        """
        total = len(self.blocks)
        if not 1 <= num_blocks <= total:
            raise ValueError(f"num_blocks must lie in [1, {total}], got {num_blocks}.")
        tokens, _ = self._tokens(images)
        parts = []
        for number, block in enumerate(self.blocks):
            tokens = block(tokens)
            if number >= total - num_blocks:
                parts.append(self.norm(tokens)[:, 0])
        if patch_mean:
            parts.append(self.norm(tokens)[:, 1:].mean(1))
        return torch.cat(parts, dim=1)

    def last_attention(self, images: Tensor) -> Tensor:
        """Attention probabilities of the last block, (N, heads, 1 + T, 1 + T), the class token first."""
        tokens, _ = self._tokens(images)
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        last = self.blocks[-1]
        return last.attn.attention(last.norm1(tokens))

    def _tokens(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Class token and patches with their positions, (N, 1 + h * w, C), and the grid (h, w)."""
        patches = self.patch_embed(images)
        grid = (patches.shape[2], patches.shape[3])
        first, rest = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        rest = resize_positions(rest, grid, rule=self.pos_interp)
        patches = patches.flatten(2).transpose(1, 2) + rest
        tokens = torch.cat([(self.cls_token + first).expand(len(images), -1, -1), patches], dim=1)
        return tokens, grid


def _to_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """(N, 1 + h * w, C) to (N, C, h, w), without the class token."""
    return tokens[:, 1:].transpose(1, 2).unflatten(2, grid)
