"""ViL: a hierarchical Transformer whose first stages attend to neighbourhoods and to a global token.

"Multi-Scale Vision Longformer" (Zhang et al. 2021, arXiv 2103.15358) as EsViT trains it (Li et al. 2022,
arXiv 2106.09785; microsoft/esvit, `MsViT` with shared weights and relative positions). Parameters have
the names of that code, except for the norms behind the stages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import torch
from mmengine.model import BaseModule, ModuleList
from timm.layers import DropPath
from torch import Tensor, nn

from mmssl.models.layers.chunk_attention import ChunkAttention
from mmssl.models.layers.feed_forward import FeedForward
from mmssl.models.layers.grid_attention import GridAttention
from mmssl.models.layers.truncated_init import init_truncated
from mmssl.registry import MODELS

from .stage_arguments import check_stages

Grid = tuple[int, int]


class ViLEmbed(BaseModule):
    """Maps (N, C, H, W) to tokens: patches that do not overlap, a norm, global tokens in front."""

    def __init__(
        self, in_channels: int, dim: int, patch: int, norm_eps: float, num_global: int
    ) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, dim, patch, patch)
        self.norm_embed = nn.LayerNorm(dim, norm_eps)
        self.cls_token = nn.Parameter(torch.zeros(1, num_global, dim)) if num_global else None

    def forward(self, x: Tensor) -> tuple[Tensor, Grid]:
        """(N, g + h * w, dim) and the grid (h, w); what is no whole patch is cut off."""
        x = self.proj(x)
        grid = (x.shape[2], x.shape[3])
        tokens = self.norm_embed(x.flatten(2).transpose(1, 2))
        if self.cls_token is not None:
            tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), tokens], dim=1)
        return tokens, grid


class ViLAttentionBlock(BaseModule):
    """x + attn(norm(x)) on tokens (N, g + h * w, C); the branch may be dropped."""

    def __init__(
        self, dim: int, attn: ChunkAttention | GridAttention, drop: float, norm_eps: float
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, norm_eps)
        self.attn = attn
        self.drop_path = DropPath(drop) if drop > 0 else nn.Identity()

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        normed = self.norm(x)
        if isinstance(self.attn, GridAttention):
            return x + self.drop_path(self.attn(normed, self.attn.position_bias(grid)))
        return x + self.drop_path(self.attn(normed, grid))


class ViLMLPBlock(BaseModule):
    """x + mlp(norm(x)) on tokens; the branch may be dropped."""

    def __init__(self, dim: int, mlp_ratio: float, drop: float, norm_eps: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, norm_eps)
        self.mlp = FeedForward(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop) if drop > 0 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.mlp(self.norm(x)))


@MODELS.register_module()
class ViL(BaseModule):
    """Vision Longformer: stages of patches, global tokens, sparse or full attention.

    Stage s is the child `layer<s + 1>`: its embedding, then attention block and feed-forward block in turn.
    Its global tokens are dropped at its end. The defaults are EsViT's ViL (27.6 M parameters).

    Images need at least as many pixels a side as the product of `patch_sizes` (32), and are square where
    a stage has full attention. As in the official code each stage cuts off the rows and columns at the
    end that fill none of its patches: of 100 x 100 pixels the maps of stages 0 to 3 see 100, 96, 96, 96.

    Args:
        embed_dims: Channels of each stage.
        depths: Blocks of each stage.
        num_heads: Heads of each stage.
        sparse: Whether a stage attends to neighbourhoods (`ChunkAttention`) or to all (`GridAttention`).
        num_global_tokens: Learned tokens of each stage that attend to everything.
        patch_sizes: Side of the patches that each stage starts with, on the image or on the map before.
        window_sizes: Side of the chunks of sparse stages, in positions.
        pretrain_img_size: Side of the images whose maps the position tables of full stages belong to.
        random_neighbour: Train sparse stages with one random chunk out of the 8 around instead of all.
        mlp_ratio: Hidden over input channels of the feed-forward part.
        drop_path_rate: Of the last block; it grows linearly from 0.
        norm_eps: Epsilon of all layer norms.
        qkv_bias: Whether queries, keys and values have a bias.
        out_indices: Stages whose normalised maps are returned, ascending.
        init_cfg: Weight initialisation of the mm family.

    Attributes:
        out_channels: Channels of the returned maps.
        strides: Pixels per position of the returned maps.

    Raises:
        ValueError: Arguments of different lengths, stages that do not exist, heads that do not divide
            the channels, or a pretraining size at which a full stage has no position.
    """

    def __init__(
        self,
        embed_dims: Sequence[int] = (96, 192, 384, 768),
        *,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        sparse: Sequence[bool] = (True, True, False, False),
        num_global_tokens: Sequence[int] = (1, 1, 1, 0),
        patch_sizes: Sequence[int] = (4, 2, 2, 2),
        window_sizes: Sequence[int] = (7, 7, 7, 7),
        pretrain_img_size: int = 224,
        random_neighbour: bool = False,
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.1,
        norm_eps: float = 1e-6,
        qkv_bias: bool = True,
        out_indices: Sequence[int] = (3,),
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        per_stage = dict(
            embed_dims=embed_dims, depths=depths, num_heads=num_heads, sparse=sparse,
            num_global_tokens=num_global_tokens, patch_sizes=patch_sizes, window_sizes=window_sizes,
        )  # fmt: skip
        check_stages(per_stage, out_indices)
        self.out_indices = tuple(out_indices)
        self.num_global_tokens = tuple(num_global_tokens)
        self.out_channels = [embed_dims[stage] for stage in self.out_indices]
        self.strides = [prod(patch_sizes[: stage + 1]) for stage in self.out_indices]
        self.depths = tuple(depths[: self.out_indices[-1] + 1])
        self.least_size = self.strides[-1]
        full = [stage for stage in range(len(self.depths)) if not sparse[stage]]
        # Maps that are square at the first of the full stages are square at those that follow.
        self.square_stride = prod(patch_sizes[: full[0] + 1]) if full else None
        if full and pretrain_img_size < (least := prod(patch_sizes[: full[-1] + 1])):
            raise ValueError(
                f"The position tables of stage {full[-1]} are those of images of pretrain_img_size "
                f"pixels, which must be at least {least}, got {pretrain_img_size}."
            )
        last_block = max(sum(depths) - 1, 1)
        side, block, channels = pretrain_img_size, 0, 3
        # Stages behind the last returned map would have no gradient.
        for stage in range(self.out_indices[-1] + 1):
            dim, heads, count = embed_dims[stage], num_heads[stage], num_global_tokens[stage]
            side //= patch_sizes[stage]
            layer: list[nn.Module] = [ViLEmbed(channels, dim, patch_sizes[stage], norm_eps, count)]
            for _ in range(depths[stage]):
                attn: ChunkAttention | GridAttention
                if sparse[stage]:
                    attn = ChunkAttention(
                        dim, heads, window=window_sizes[stage], num_global=count,
                        random_neighbour=random_neighbour, qkv_bias=qkv_bias,
                    )  # fmt: skip
                else:
                    attn = GridAttention(dim, heads, side=side, num_global=count, qkv_bias=qkv_bias)
                drop = drop_path_rate * block / last_block
                layer.append(ViLAttentionBlock(dim, attn, drop, norm_eps))
                layer.append(ViLMLPBlock(dim, mlp_ratio, drop, norm_eps))
                block += 1
            self.add_module(f"layer{stage + 1}", ModuleList(layer))
            channels = dim
        for stage in self.out_indices:
            self.add_module(f"norm{stage}", nn.LayerNorm(embed_dims[stage], norm_eps))

    def init_weights(self) -> None:
        """Linear weights, global tokens and position tables truncated normal of deviation 0.02."""
        init_truncated(self)
        for name, parameter in self.named_parameters():
            if name.rsplit(".", 1)[-1].endswith(("_token", "_bias_table", "_position_bias")):
                nn.init.trunc_normal_(parameter, std=0.02)
        super().init_weights()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Normalised maps, without the global tokens.

        Args:
            images: (N, 3, H, W) normalised images, square if a stage has full attention.

        Returns:
            (N, C, h, w) for each of `out_indices`.
        """
        maps = []
        for stage, block, tokens, grid in self._blocks(images):
            if stage in self.out_indices and block == self.depths[stage] - 1:
                maps.append(self._to_map(stage, getattr(self, f"norm{stage}")(tokens), grid))
        return tuple(maps)

    def view_and_map(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The view (N, C) and the last map (N, C, h, w), both normalised.

        The view is the first global token of the last stage, or the mean of its positions if it has none.
        """
        *_, (stage, _, tokens, grid) = self._blocks(images)
        tokens = getattr(self, f"norm{stage}")(tokens)
        return self._summary(stage, tokens), self._to_map(stage, tokens, grid)

    def last_blocks(self, images: Tensor, num_blocks: int) -> Tensor:
        """Features of the last blocks side by side, (N, D): those of EsViT's linear probe.

        Of each block the first global token of its stage, or the mean of the positions where there is
        none. The final norm goes over the blocks of the last stage, those of earlier stages stay raw.

        Raises:
            ValueError: There are not as many blocks.
        """
        total = sum(self.depths)
        if not 1 <= num_blocks <= total:
            raise ValueError(f"num_blocks must lie in [1, {total}], got {num_blocks}.")
        last, parts = len(self.depths) - 1, []
        for stage, _, tokens, _ in self._blocks(images):
            if stage == last:
                tokens = getattr(self, f"norm{stage}")(tokens)
            parts.append(self._summary(stage, tokens))
        return torch.cat(parts[-num_blocks:], dim=1)

    def last_attention(self, images: Tensor) -> Tensor:
        """Attention probabilities of the last block, (N, heads, T, T), global tokens first.

        Raises:
            ValueError: The last stage attends to neighbourhoods only.
        """
        block = getattr(self, f"layer{len(self.depths)}")[-2]
        if not isinstance(block.attn, GridAttention):
            raise ValueError(
                f"Stage {len(self.depths) - 1} of this ViL is sparse: its positions do not attend to the "
                "whole map. Ask for attention where the last stage is a full one."
            )
        seen: list[tuple[Tensor, Grid]] = []
        handle = block.register_forward_pre_hook(lambda module, args: seen.append(args))
        try:
            self.forward(images)
        finally:
            handle.remove()
        tokens, grid = seen[0]
        return block.attn.attention(block.norm(tokens), block.attn.position_bias(grid))

    def _blocks(self, images: Tensor) -> Iterator[tuple[int, int, Tensor, Grid]]:
        """Stage, number within it, tokens (N, g + h * w, C) and grid (h, w) behind each block in turn."""
        self._check_size(images.shape[2], images.shape[3])
        x = images
        for stage, depth in enumerate(self.depths):
            embed, *layers = getattr(self, f"layer{stage + 1}")
            tokens, grid = embed(x)
            for block in range(depth):
                tokens = layers[2 * block](tokens, grid)
                tokens = layers[2 * block + 1](tokens)
                yield stage, block, tokens, grid
            x = self._to_map(stage, tokens, grid)

    def _check_size(self, height: int, width: int) -> None:
        least, stride = self.least_size, self.square_stride
        if min(height, width) < least:
            raise ValueError(
                f"This ViL takes images of at least {least} x {least} pixels, got {height} x {width}."
            )
        if stride is not None and height // stride != width // stride:
            near = [side // least * least for side in sorted((height, width))]
            near = near if near[0] < near[1] else [near[0], near[0] + least]
            raise ValueError(
                f"This ViL takes square images only, since it has stages with full attention; got "
                f"{height} x {width} pixels. Resize or crop to {near[0]} x {near[0]} or "
                f"{near[1]} x {near[1]}, or make all stages sparse."
            )

    def _to_map(self, stage: int, tokens: Tensor, grid: Grid) -> Tensor:
        """(N, g + h * w, C) to (N, C, h, w)."""
        return tokens[:, self.num_global_tokens[stage] :].transpose(1, 2).unflatten(2, grid)

    def _summary(self, stage: int, tokens: Tensor) -> Tensor:
        """(N, g + h * w, C) to (N, C)."""
        return tokens[:, 0] if self.num_global_tokens[stage] else tokens.mean(1)
