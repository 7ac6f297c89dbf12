"""VisionTransformer: ViT and DeiT, as DINO, EsViT and MoCo v3 train them.

"An Image is Worth 16x16 Words" (Dosovitskiy et al. 2021, arXiv 2010.11929), "Training data-efficient image
transformers" (Touvron et al. 2021, arXiv 2012.12877), "Emerging Properties in Self-Supervised Vision
Transformers" (Caron et al. 2021, arXiv 2104.14294; facebookresearch/dino), EsViT (Li et al. 2022, arXiv
2106.09785; microsoft/esvit), MoCo v3 (Chen et al. 2021, arXiv 2104.02057; facebookresearch/moco-v3). Their
names are those of these codes, and timm's.

Different from the official codes: images that are no whole number of patches are refused, where those
cut the rest off.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from mmengine.model import BaseModule, ModuleList
from timm.layers import DropPath
from torch import Tensor, nn

from mmssl.models.layers.feed_forward import FeedForward
from mmssl.models.layers.patch_projection import ConvProjection, PatchProjection
from mmssl.models.layers.position_encoding import SinCosPosition
from mmssl.models.layers.position_grid import PositionRule, resize_positions
from mmssl.models.layers.self_attention import SelfAttention
from mmssl.models.layers.truncated_init import init_truncated
from mmssl.models.layers.xavier_init import init_patch_projection, init_xavier
from mmssl.registry import MODELS

Positions = Literal["learned", "sincos"]
Stem = Literal["patch", "conv"]
WeightInit = Literal["truncated", "xavier"]


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
    MoCo v3's ViT-small has 12 heads, and with `stem='conv'` 11 blocks; it takes `positions='sincos'`,
    `frozen_patch_embed=True` and `weight_init='xavier'`.

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
        positions: `learned` or `sincos`: fixed waves, a half of the channels for rows, the other for columns.
        stem: `patch` projects each patch, `conv` is a `ConvProjection` (16 pixels to a token).
        stem_norm_cfg: Norm of the convolutions of `stem='conv'`; default BatchNorm.
        frozen_patch_embed: Whether the stem keeps its first weights (MoCo v3, section 4.3: training is more
            stable).
        weight_init: `truncated` (DINO) or `xavier` (MoCo v3).
        out_indices: Blocks whose patch tokens are returned as maps, ascending; negative numbers count
            from the end. The final norm goes over all of them; blocks behind the last do not exist.
        init_cfg: Weight initialisation of the mm family.

    Attributes:
        out_channels: Channels of the returned maps.
        strides: Pixels per position of the returned maps.

    Raises:
        ValueError: Blocks that do not exist, an unknown rule or option, heads that do not divide the
            channels, channels that do not suit the stem or the positions, a convolutional stem with other
            patches than of 16 pixels, or a pretraining size that is no whole number of patches.

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
        positions: Positions = "learned",
        stem: Stem = "patch",
        stem_norm_cfg: dict | None = None,
        frozen_patch_embed: bool = False,
        weight_init: WeightInit = "truncated",
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
        for name, value, options in (
            ("pos_interp", pos_interp, get_args(PositionRule)),
            ("positions", positions, get_args(Positions)),
            ("stem", stem, get_args(Stem)),
            ("weight_init", weight_init, get_args(WeightInit)),
        ):
            if value not in options:
                raise ValueError(
                    f"{name} must be {' or '.join(map(repr, options))}, got {value!r}."
                )
        if stem == "conv" and patch_size != ConvProjection.patch_size:
            raise ValueError(f"stem='conv' needs patch_size=16, got {patch_size}.")
        if pretrain_img_size % patch_size or pretrain_img_size < patch_size:
            raise ValueError(
                f"pretrain_img_size={pretrain_img_size} is no multiple of patch_size={patch_size}."
            )
        self.pos_interp = pos_interp
        self.out_indices = tuple(wanted)
        self.out_channels = [embed_dims] * len(wanted)
        self.strides = [patch_size] * len(wanted)
        self.weight_init = weight_init
        self.patch_embed = (
            PatchProjection(embed_dims, patch_size)
            if stem == "patch"
            else ConvProjection(embed_dims, norm_cfg=stem_norm_cfg)
        )
        self.patch_embed.requires_grad_(not frozen_patch_embed)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dims))
        side = pretrain_img_size // patch_size
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + side**2, embed_dims))
        self.fixed_positions = positions == "sincos"
        if self.fixed_positions:
            self.pos_embed.requires_grad_(False)[0, 1:] = SinCosPosition(
                (side, side), embed_dims
            ).encoding
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
        """The rule of `weight_init`, DINO's or MoCo v3's, but for fixed positions; then `init_cfg`."""
        if self.weight_init == "truncated":
            init_truncated(self)
        else:
            init_xavier(self)
            if isinstance(self.patch_embed, PatchProjection):
                init_patch_projection(self.patch_embed.proj)
        nn.init.trunc_normal_(self.cls_token, std=0.02 if self.weight_init == "truncated" else 1e-6)
        if not self.fixed_positions:
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
