"""CvT: a hierarchical Transformer whose embeddings and projections are convolutions.

"CvT: Introducing Convolutions to Vision Transformers" (Wu et al. 2021, arXiv 2103.15808), in the windowed
form that EsViT trains (Li et al. 2022, arXiv 2106.09785; microsoft/esvit, `cvt_v4` with its setting `s1`).

Different from the official code: its option `SHIFT`, which masks shifted windows without shifting them, and
its relative positions, which its published setting does not use, are not here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule, ModuleList
from timm.layers import DropPath
from torch import Tensor, nn

from mmssl.models.layers.conv_window_attention import ConvWindowAttention
from mmssl.models.layers.truncated_init import init_truncated
from mmssl.registry import MODELS

from .stage_arguments import check_stages


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of a map (N, C, H, W), at each position."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvEmbed(BaseModule):
    """Overlapping patches: 7x7 with stride 4 on images, 3x3 with stride 2 on maps; then a norm."""

    def __init__(self, in_channels: int, dim: int, norm_eps: float, first: bool) -> None:
        super().__init__()
        kernel, self.stride, self.padding = (7, 4, 2) if first else (3, 2, 1)
        self.proj = nn.Conv2d(in_channels, dim, kernel, self.stride, self.padding)
        self.norm = ChannelNorm(dim, norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, dim, floor((H - 3) / 4) + 1, ...) or (N, dim, ceil(H / 2), ...).

        Raises:
            ValueError: An image that is smaller than the kernel without its padding.
        """
        least = self.proj.kernel_size[0] - 2 * self.padding
        if min(x.shape[2:]) < least:
            raise ValueError(
                f"CvT takes images of at least {least} x {least} pixels, got {tuple(x.shape[2:])}."
            )
        return self.norm(self.proj(x))


class ConvFFN(BaseModule):
    """Two pointwise convolutions with x * sigmoid(1.702 x) between them, a rough GELU."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(dim, hidden, 1)
        self.fc2 = nn.Conv2d(hidden, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1(x)
        return self.fc2(x * torch.sigmoid(1.702 * x))


class CvTBlock(BaseModule):
    """x + attn(norm1(x)), then x + ffn(norm2(x)), on (N, C, H, W); each branch may be dropped."""

    def __init__(
        self, dim: int, num_heads: int, window: int, mlp_ratio: float, drop: float,
        norm_eps: float, qkv_bias: bool, norm_cfg: dict | None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm1 = ChannelNorm(dim, norm_eps)
        self.attn = ConvWindowAttention(
            dim, num_heads, window=window, qkv_bias=qkv_bias, norm_cfg=norm_cfg
        )
        self.norm2 = ChannelNorm(dim, norm_eps)
        self.ffn = ConvFFN(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop) if drop > 0 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.ffn(self.norm2(x)))


class CvTStage(BaseModule):
    """An embedding and the blocks of one resolution."""

    def __init__(self, embed: ConvEmbed, blocks: list[CvTBlock]) -> None:
        super().__init__()
        self.embed = embed
        self.blocks = ModuleList(blocks)


@MODELS.register_module()
class CvT(BaseModule):
    """Hierarchical Transformer with windows, convolutional embeddings and convolutional projections.

    The defaults are EsViT's CvT-tiny (29.3 M parameters). Positions come from the convolutions alone, so
    images of any size go through. It holds BatchNorm: momentum copies keep statistics of their own.

    Args:
        embed_dims: Channels of each stage.
        depths: Blocks of each stage.
        num_heads: Heads of each stage.
        window_sizes: Side of the windows of each stage, in positions; no larger than the map.
        mlp_ratio: Hidden over input channels of the feed-forward part.
        drop_path_rate: Of the last block; it grows linearly from 0.
        norm_eps: Epsilon of all layer norms.
        qkv_bias: Whether queries, keys and values have a bias.
        norm_cfg: Norm inside the projections, default `dict(type='BN')`.
        out_indices: Stages whose normalised maps are returned, ascending.
        init_cfg: Weight initialisation of the mm family.

    Attributes:
        out_channels: Channels of the returned maps.
        strides: Pixels per position of the returned maps.

    Raises:
        ValueError: Arguments of different lengths, stages that do not exist, heads that do not divide
            the channels.
    """

    def __init__(
        self,
        embed_dims: Sequence[int] = (64, 192, 384, 768),
        *,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (1, 3, 6, 12),
        window_sizes: Sequence[int] = (7, 7, 7, 7),
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.1,
        norm_eps: float = 1e-5,
        qkv_bias: bool = True,
        norm_cfg: dict | None = None,
        out_indices: Sequence[int] = (3,),
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        per_stage = dict(
            embed_dims=embed_dims, depths=depths, num_heads=num_heads, window_sizes=window_sizes
        )
        check_stages(per_stage, out_indices)
        self.out_indices = tuple(out_indices)
        self.out_channels = [embed_dims[stage] for stage in self.out_indices]
        self.strides = [4 * 2**stage for stage in self.out_indices]
        last_block = max(sum(depths) - 1, 1)
        drops = (drop_path_rate * block / last_block for block in range(sum(depths)))
        in_channels = (3, *embed_dims)
        # Stages behind the last returned map would have no gradient.
        self.stages = ModuleList()
        for stage in range(self.out_indices[-1] + 1):
            blocks = [
                CvTBlock(
                    embed_dims[stage],
                    num_heads[stage],
                    window_sizes[stage],
                    mlp_ratio,
                    next(drops),
                    norm_eps,
                    qkv_bias,
                    norm_cfg,
                )
                for _ in range(depths[stage])
            ]
            embed = ConvEmbed(in_channels[stage], embed_dims[stage], norm_eps, stage == 0)
            self.stages.append(CvTStage(embed, blocks))
        for stage in self.out_indices:
            self.add_module(f"norm{stage}", ChannelNorm(embed_dims[stage], norm_eps))

    def init_weights(self) -> None:
        """Weights of convolutions truncated normal of deviation 0.02, their biases 0; then `init_cfg`."""
        init_truncated(self, (nn.Conv2d,))
        super().init_weights()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Normalised maps.

        Args:
            images: (N, 3, H, W) normalised images of any size from 3 x 3 pixels.

        Returns:
            (N, C, h, w) for each of `out_indices`.
        """
        maps = []
        x = images
        for number, stage in enumerate(self.stages):
            x = stage.embed(x)
            for block in stage.blocks:
                x = block(x)
            if number in self.out_indices:
                maps.append(getattr(self, f"norm{number}")(x))
        return tuple(maps)

    def last_blocks(self, images: Tensor, num_blocks: int) -> Tensor:
        """Means of the last blocks' maps side by side, (N, D): the features of EsViT's linear probe.

        The final norm goes over the blocks of the last stage, those of earlier stages stay raw.

        Raises:
            ValueError: There are not as many blocks.
        """
        total = sum(len(stage.blocks) for stage in self.stages)
        if not 1 <= num_blocks <= total:
            raise ValueError(f"num_blocks must lie in [1, {total}], got {num_blocks}.")
        last, means = len(self.stages) - 1, []
        x = images
        for number, stage in enumerate(self.stages):
            x = stage.embed(x)
            for block in stage.blocks:
                x = block(x)
                one = getattr(self, f"norm{last}")(x) if number == last else x
                means.append(one.mean((2, 3)))
        return torch.cat(means[-num_blocks:], dim=1)

    def last_attention(self, images: Tensor) -> Tensor:
        """Attention probabilities of the last block, (N * windows, heads, w^2, w^2), windows row-major."""
        x = images
        for stage in self.stages:
            x = stage.embed(x)
            for block in stage.blocks[:-1] if stage is self.stages[-1] else stage.blocks:
                x = block(x)
        last = self.stages[-1].blocks[-1]
        return last.attn.attention(last.norm1(x))
