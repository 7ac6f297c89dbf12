"""CoTBottleneck: ResNet's block with a context layer for its 3x3 convolution.

"Contextual Transformer Networks for Visual Recognition" (Li et al. 2021, arXiv 2107.12292), section 3.3.
Compared with the authors' code (JDAI-CV/CoTNet).
"""

from __future__ import annotations

from typing import Literal

import torch
from mmengine.model import BaseModule
from timm.layers import AvgPool2dSame, BlurPool2d, DropPath
from torch import Tensor, nn

from mmssl.models.layers.cot_layer import CoTLayer, Fusion
from mmssl.models.layers.coxt_layer import CoXtLayer
from mmssl.models.layers.norm import norm_layer
from mmssl.models.layers.recompute import recompute
from mmssl.models.layers.se_conv import SEConv
from mmssl.models.layers.windowed_self_attention import WindowedSelfAttention

Mixer = Literal["cot", "coxt", "sasa", "se", "conv"]
EXPANSION = 4
"""Output channels of a block over its planes."""


def _mixer(
    kind: Mixer,
    width: int,
    *,
    stride: int,
    dilation: int,
    fusion: Fusion,
    key_kernel_size: int,
    norm_cfg: dict,
) -> nn.Module:
    """The layer of a block; `stride` is for the two that convolve."""
    if kind == "cot":
        return CoTLayer(width, fusion=fusion, dilation=dilation, norm_cfg=norm_cfg)
    if kind == "coxt":
        return CoXtLayer(width, fusion=fusion, dilation=dilation, norm_cfg=norm_cfg)
    if kind == "sasa":
        return WindowedSelfAttention(
            width, key_kernel_size=key_kernel_size, dilation=dilation, norm_cfg=norm_cfg
        )
    if kind == "se":
        return SEConv(width, stride=stride, dilation=dilation, norm_cfg=norm_cfg)
    return nn.Sequential(
        nn.Conv2d(width, width, 3, stride, dilation, dilation, bias=False),
        norm_layer(norm_cfg, width, maps=True),
        nn.ReLU(inplace=True),
    )


def _pools(
    mixer: Mixer | nn.Module, width: int, stride: int, *, blur: bool
) -> tuple[nn.Module, nn.Module]:
    """What subsamples before and behind a mixer that does not itself."""
    if stride == 1:
        return nn.Identity(), nn.Identity()
    if blur:
        return nn.Identity(), BlurPool2d(width, stride=stride)
    # its zeros beyond the border count, or the border of every map would differ
    pool = nn.AvgPool2d(3, stride, padding=1, count_include_pad=True)
    return (nn.Identity(), pool) if mixer == "sasa" else (pool, nn.Identity())


def _shortcut(
    in_channels: int,
    out_channels: int,
    stride: int,
    *,
    avg_down: bool,
    dilated: bool,
    norm_cfg: dict,
) -> nn.Sequential:
    norm = norm_layer(norm_cfg, out_channels, maps=True)
    if not avg_down:
        return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), norm)
    pool: nn.Module = nn.Identity()
    if stride > 1:
        pool = nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False)
    elif dilated:  # the average stays where its stride has gone; zeros below and to the right count
        pool = AvgPool2dSame(2, 1)
    return nn.Sequential(pool, nn.Conv2d(in_channels, out_channels, 1, bias=False), norm)


class CoTBottleneck(BaseModule):
    """1x1, mixer, 1x1, and the shortcut; norm and ReLU around, none behind the mixer.

    | `mixer` | layer                                          | where a stride is                     |
    |---------|------------------------------------------------|---------------------------------------|
    | `cot`   | `CoTLayer`                                     | average of 3x3 before the layer       |
    | `coxt`  | `CoXtLayer`                                    | average of 3x3 before the layer       |
    | `sasa`  | `WindowedSelfAttention`                        | average of 3x3 behind the layer       |
    | `se`    | `SEConv`                                       | in the convolution                    |
    | `conv`  | 3x3 convolution, norm, ReLU (ResNet's block)   | in the convolution                    |

    Averages count the zeros beyond the border. With `blur` every layer keeps the resolution, and a blurred
    subsampling follows it.

    Args:
        in_channels: Of the map.
        planes: A quarter of the output's channels.
        width: Inner channels.
        mixer: See above, or a module (N, width, H, W) -> (N, width, ceil(H / stride), ...).
        stride: 1 or 2.
        dilation: Of the mixer.
        has_shortcut: Whether the shortcut has a 1x1 convolution and a norm.
        avg_down: Whether the shortcut averages 2x2 positions instead of taking every second one.
        dilated: Whether a dilation has taken the place of the stride: the shortcut averages all the same.
        blur: See above.
        fusion: Of `cot` and `coxt`.
        key_kernel_size: Of `sasa`.
        drop_path: Probability that a training image skips the residual branch.
        norm_cfg: Of all BatchNorms.
        with_cp: Compute activations again in the backward pass instead of keeping them.
    """

    def __init__(
        self,
        in_channels: int,
        planes: int,
        width: int,
        *,
        mixer: Mixer | nn.Module = "cot",
        stride: int = 1,
        dilation: int = 1,
        has_shortcut: bool = False,
        avg_down: bool = False,
        dilated: bool = False,
        blur: bool = False,
        fusion: Fusion = "se",
        key_kernel_size: int = 1,
        drop_path: float = 0.0,
        norm_cfg: dict | None = None,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        norm_cfg = norm_cfg or dict(type="BN")
        out_channels = EXPANSION * planes
        strided = isinstance(mixer, nn.Module) or (mixer in ("se", "conv") and not blur)
        before, behind = _pools(mixer, width, 1 if strided else stride, blur=blur)
        self.with_cp = with_cp
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = norm_layer(norm_cfg, width, maps=True)
        self.pool_before = before
        if not isinstance(mixer, nn.Module):
            mixer = _mixer(
                mixer,
                width,
                stride=stride if strided else 1,
                dilation=dilation,
                fusion=fusion,
                key_kernel_size=key_kernel_size,
                norm_cfg=norm_cfg,
            )
        self.conv2 = mixer
        self.pool_behind = behind
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = norm_layer(norm_cfg, out_channels, maps=True)
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module = nn.Identity()
        if has_shortcut:
            self.downsample = _shortcut(
                in_channels,
                out_channels,
                stride,
                avg_down=avg_down,
                dilated=dilated,
                norm_cfg=norm_cfg,
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, 4 planes, ceil(H / stride), ceil(W / stride)).

        Raises:
            ValueError: One image in training (see `check_pooled_norm`).
        """
        if self.with_cp and self.training and torch.is_grad_enabled():
            return recompute(self, self._forward, x)
        return self._forward(x)

    def _forward(self, x: Tensor) -> Tensor:
        inner = self.relu(self.bn1(self.conv1(x)))
        inner = self.pool_behind(self.conv2(self.pool_before(inner)))
        return self.relu(self.drop_path(self.bn3(self.conv3(inner))) + self.downsample(x))
