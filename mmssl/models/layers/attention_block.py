"""AttentionBlock: the residual block of CARE's T-stream (2021, arXiv 2110.05340)."""

from __future__ import annotations

from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from .bottleneck_attention import BottleneckAttention
from .norm import norm_layer
from .position_encoding import PositionKind


class AttentionBlock(BaseModule):
    """A bottleneck whose middle is self-attention at full resolution; pooling comes after it.

        out = ReLU(shortcut(x) + norm3(conv2(ReLU(norm2(pool(attention(ReLU(norm1(conv1(x)))))))))

    The shortcut is the identity; conv 3x3 stride 2 - norm - ReLU when the block halves the map; conv 1x1 -
    norm - ReLU when only the channels change. Convolutions have no bias and start from He's normal
    distribution (fan-out).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        fmap_size: (H, W) of the input.
        proj_factor: `out_channels // proj_factor` channels enter the attention.
        num_heads: Heads of the attention.
        head_dim: Channels of a head.
        downsample: Halve the map.
        ceil_mode: Round odd sizes up when halving (ours; the official code fails on them).
        pos_enc: `absolute`, `relative`, `sincos` or `none`.
        norm_cfg: Norm of the block, default `dict(type='BN')`.
        zero_init_last_gamma: Start the last norm weight at 0. The official code means to, but resets
            it to 1 afterwards.
        init_cfg: Weight initialisation of the mm family.

    Raises:
        ValueError: `downsample` of an odd map without `ceil_mode`, or `out_channels` not divisible by
            `proj_factor`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        fmap_size: tuple[int, int],
        *,
        proj_factor: int = 4,
        num_heads: int = 4,
        head_dim: int = 128,
        downsample: bool = False,
        ceil_mode: bool = False,
        pos_enc: PositionKind = "relative",
        norm_cfg: dict | None = None,
        zero_init_last_gamma: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if downsample and not ceil_mode and (fmap_size[0] % 2 or fmap_size[1] % 2):
            raise ValueError(
                f"A block with downsample needs even maps, got fmap_size={fmap_size}. Use crops whose "
                "stage-3 map is even (a multiple of 32 px), downsample=False, or ceil_mode=True."
            )
        if out_channels % proj_factor:
            raise ValueError(
                f"out_channels={out_channels} must be divisible by proj_factor={proj_factor}."
            )
        norm_cfg = norm_cfg or dict(type="BN")
        hid_channels = out_channels // proj_factor
        self.shortcut: nn.Module = nn.Identity()
        if downsample or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1, bias=False)
                if downsample
                else nn.Conv2d(in_channels, out_channels, 1, bias=False),
                norm_layer(norm_cfg, out_channels, maps=True),
                nn.ReLU(inplace=True),
            )
        self.conv1 = nn.Conv2d(in_channels, hid_channels, 1, bias=False)
        self.norm1 = norm_layer(norm_cfg, hid_channels, maps=True)
        self.attention = BottleneckAttention(
            hid_channels, fmap_size, num_heads=num_heads, head_dim=head_dim, pos_enc=pos_enc
        )
        self.pool: nn.Module = (
            nn.AvgPool2d(2, ceil_mode=ceil_mode, count_include_pad=False)
            if downsample
            else nn.Identity()
        )
        self.norm2 = norm_layer(norm_cfg, num_heads * head_dim, maps=True)
        self.conv2 = nn.Conv2d(num_heads * head_dim, out_channels, 1, bias=False)
        self.norm3 = norm_layer(norm_cfg, out_channels, maps=True)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if zero_init_last_gamma:
            nn.init.zeros_(self.norm3.weight)

    def forward(self, feats: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H', W'), H' = H / 2 with `downsample`."""
        x = F.relu(self.norm1(self.conv1(feats)), inplace=True)
        x = F.relu(self.norm2(self.pool(self.attention(x))), inplace=True)
        return F.relu(self.norm3(self.conv2(x)) + self.shortcut(feats), inplace=True)
