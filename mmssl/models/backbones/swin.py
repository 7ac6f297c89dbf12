"""Swin: windows fixed by the pretraining size, so that crops of every size use the same weights alike.

Swin Transformer (Liu et al. 2021, arXiv 2103.14030) as EsViT trains it (Li et al. 2022, arXiv
2106.09785; microsoft/esvit). Parameters have the names and the order of channels of mmdet's and
mmseg's SwinTransformer. Different from those: window and shift of a block follow from the map that it
has at `pretrain_img_size`, whatever the input, and the epsilon of the norms is 1e-6.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule, ModuleList
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn import functional as F

from mmssl.models.layers.truncated_init import init_truncated
from mmssl.models.layers.window_attention import WindowAttention
from mmssl.registry import MODELS

from .stage_arguments import check_stages

PATCH = 4


class PatchEmbed(BaseModule):
    """Images (N, 3, H, W) to (N, ceil(H/4), ceil(W/4), C): a 4x4 convolution of stride 4 and a norm."""

    def __init__(self, dim: int, norm_eps: float, patch_norm: bool) -> None:
        super().__init__()
        self.projection = nn.Conv2d(3, dim, PATCH, PATCH)
        self.norm = nn.LayerNorm(dim, norm_eps) if patch_norm else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Sides that are no multiples of 4 are padded with zeros at the right and the bottom."""
        below, beside = -images.shape[2] % PATCH, -images.shape[3] % PATCH
        if below or beside:
            images = F.pad(images, (0, beside, 0, below))
        return self.norm(self.projection(images).permute(0, 2, 3, 1))


class PatchMerging(BaseModule):
    """(N, H, W, C) to (N, ceil(H/2), ceil(W/2), 2C): four neighbours side by side, norm, projection."""

    def __init__(self, dim: int, norm_eps: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim, norm_eps)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Channel 4 c + 2 row + column of the four, as `nn.Unfold` orders them (and mmdet)."""
        below, beside = x.shape[1] % 2, x.shape[2] % 2
        if below or beside:
            x = F.pad(x, (0, 0, 0, beside, 0, below))
        n, height, width, dim = x.shape
        x = x.view(n, height // 2, 2, width // 2, 2, dim).permute(0, 1, 3, 5, 2, 4)
        return self.reduction(self.norm(x.reshape(n, height // 2, width // 2, 4 * dim)))


class ShiftWindowMSA(BaseModule):
    """The level of names that mmdet has between a block and its attention."""

    def __init__(self, dim: int, num_heads: int, window: int, shift: int, qkv_bias: bool) -> None:
        super().__init__()
        self.w_msa = WindowAttention(dim, num_heads, window, shift, qkv_bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.w_msa(x)


class FFN(BaseModule):
    """Two linear layers with a GELU between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Sequential(nn.Linear(dim, hidden), nn.GELU()), nn.Linear(hidden, dim)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class SwinBlock(BaseModule):
    """x + attn(norm(x)), then x + ffn(norm(x)), on (N, H, W, C); each branch may be dropped."""

    def __init__(
        self, dim: int, num_heads: int, window: int, shift: int, mlp_ratio: float, drop: float,
        norm_eps: float, qkv_bias: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, norm_eps)
        self.attn = ShiftWindowMSA(dim, num_heads, window, shift, qkv_bias)
        self.norm2 = nn.LayerNorm(dim, norm_eps)
        self.ffn = FFN(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop) if drop > 0 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.ffn(self.norm2(x)))


class SwinStage(BaseModule):
    """Blocks of one resolution, and the merging that leads to the next."""

    def __init__(self, blocks: list[SwinBlock], downsample: PatchMerging | None) -> None:
        super().__init__()
        self.blocks = ModuleList(blocks)
        self.downsample = downsample


@MODELS.register_module()
class Swin(BaseModule):
    """Hierarchical Transformer with shifted windows.

    The side r of a stage's map at `pretrain_img_size` decides once: if r <= `window_size` the window is
    r and nothing is shifted; else odd blocks shift by half a window (static rule of the official code).

    Compile it with `dynamic=False`, as the runner does: windows with symbolic sizes take a compiler very
    long.

    Args:
        embed_dims: Channels of the first stage; each stage doubles them.
        depths: Blocks per stage.
        num_heads: Heads per stage.
        window_size: Side of a window, in positions.
        pretrain_img_size: Side of the images that the rule above goes by, in pixels.
        mlp_ratio: Hidden over input channels of the feed-forward part.
        drop_path_rate: Of the last block; it grows linearly from 0.
        norm_eps: Epsilon of all layer norms; mmdet's default is 1e-5.
        qkv_bias: Whether queries, keys and values have a bias.
        patch_norm: A norm behind the patch embedding.
        out_indices: Stages whose normalised maps are returned, ascending.
        init_cfg: Weight initialisation of the mm family.

    Attributes:
        out_channels: Channels of the returned maps.
        strides: Pixels per position of the returned maps.

    Raises:
        ValueError: Lists of different lengths, stages that do not exist, a window below 1, or a
            pretraining size at which a stage has no position.
    """

    def __init__(
        self,
        embed_dims: int = 96,
        *,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window_size: int = 7,
        pretrain_img_size: int = 224,
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.1,
        norm_eps: float = 1e-6,
        qkv_bias: bool = True,
        patch_norm: bool = True,
        out_indices: Sequence[int] = (3,),
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        check_stages(dict(depths=depths, num_heads=num_heads), out_indices)
        self.out_indices = tuple(out_indices)
        least = PATCH * 2 ** self.out_indices[-1]
        if pretrain_img_size < least:
            raise ValueError(
                f"The windows of stages 0 to {self.out_indices[-1]} are set by images of "
                f"pretrain_img_size pixels, which must be at least {least}, got {pretrain_img_size}."
            )
        if window_size < 1:
            raise ValueError(f"window_size must be at least 1, got {window_size}.")
        self.window_size, self.pretrain_img_size = window_size, pretrain_img_size
        dims = [embed_dims * 2**stage for stage in range(len(depths))]
        self.out_channels = [dims[stage] for stage in self.out_indices]
        self.strides = [PATCH * 2**stage for stage in self.out_indices]
        self.patch_embed = PatchEmbed(embed_dims, norm_eps, patch_norm)
        last_block = max(sum(depths) - 1, 1)
        drops = (drop_path_rate * block / last_block for block in range(sum(depths)))
        # Stages behind the last returned map would have no gradient.
        self.stages = ModuleList()
        for stage in range(self.out_indices[-1] + 1):
            side = pretrain_img_size // PATCH // 2**stage
            window = min(side, window_size)
            shift = window // 2 if side > window_size else 0
            blocks = [
                SwinBlock(
                    dims[stage],
                    num_heads[stage],
                    window,
                    shift if number % 2 else 0,
                    mlp_ratio,
                    next(drops),
                    norm_eps,
                    qkv_bias,
                )
                for number in range(depths[stage])
            ]
            last = stage == self.out_indices[-1]
            self.stages.append(
                SwinStage(blocks, None if last else PatchMerging(dims[stage], norm_eps))
            )
        for stage in self.out_indices:
            self.add_module(f"norm{stage}", nn.LayerNorm(dims[stage], norm_eps))

    def init_weights(self) -> None:
        """Linear weights truncated normal of deviation 0.02, their biases 0; then `init_cfg`."""
        init_truncated(self)
        super().init_weights()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) of any size to the normalised maps (N, C, h, w) of `out_indices`."""
        maps = []
        x = self.patch_embed(images)
        for number, stage in enumerate(self.stages):
            for block in stage.blocks:
                x = block(x)
            if number in self.out_indices:
                maps.append(getattr(self, f"norm{number}")(x).permute(0, 3, 1, 2))
            if stage.downsample is not None:
                x = stage.downsample(x)
        return tuple(maps)

    def last_blocks(self, images: Tensor, num_blocks: int) -> Tensor:
        """Token means of the last blocks side by side, (N, D): the features of EsViT's linear probe.

        The final norm goes over the blocks of the last stage, those of earlier stages stay raw.

        Raises:
            ValueError: There are not as many blocks.
        """
        total = sum(len(stage.blocks) for stage in self.stages)
        if not 1 <= num_blocks <= total:
            raise ValueError(f"num_blocks must lie in [1, {total}], got {num_blocks}.")
        means = []
        x = self.patch_embed(images)
        for number, stage in enumerate(self.stages):
            for block in stage.blocks:
                x = block(x)
                last = number == len(self.stages) - 1
                means.append((getattr(self, f"norm{number}")(x) if last else x).mean((1, 2)))
            if stage.downsample is not None:
                x = stage.downsample(x)
        return torch.cat(means[-num_blocks:], dim=1)

    def last_attention(self, images: Tensor) -> Tensor:
        """Attention probabilities of the last block, (N * windows, heads, w^2, w^2)."""
        block = self.stages[-1].blocks[-1]
        seen: list[Tensor] = []
        handle = block.norm1.register_forward_hook(lambda module, args, out: seen.append(out))
        try:
            self.forward(images)
        finally:
            handle.remove()
        return block.attn.w_msa.attention(seen[0])
