"""LRNet: ResNet's stages with local relation layers for all convolutions larger than 1x1.

Local Relation Networks for Image Recognition, 2019, arXiv 1904.11491, section 4. No weights and no code of
the networks were published. Widths and the output transform of the layers were found by counting: 23.4 and
14.6 million parameters for 50 and 26, against 23.3 and 14.7 reported. 100 channels are not a multiple of 8:
10 share a weight in the first stage, 8 in the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import nn

from mmssl.models.layers import LocalRelation, norm_layer
from mmssl.registry import MODELS

from .cot_bottleneck import EXPANSION, CoTBottleneck
from .frozen_parts import check_frozen_stages
from .residual_backbone import ResidualBackbone
from .stage_arguments import check_stages

_DEPTHS = {26: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
_PLANES = (64, 128, 256, 512)
_STEM_CHANNELS = 64
_STEM_STRIDE = 4


@MODELS.register_module()
class LRNet(ResidualBackbone):
    """LR-Net-26/50/101 as a tuple of feature maps.

    Convolutions start from He's normal distribution (fan-out), those of queries and keys as `LocalRelation`
    says, norm layers from 1 and 0. Stages after the last of `out_indices` are not built: no parameter is
    without gradient.

    Args:
        depth: 26, 50 or 101, or the number of blocks of each stage.
        in_channels: Of the images.
        out_indices: Stages (0-3, ascending) whose maps are returned.
        frozen_stages: Stem and stages 1..n are in eval mode without gradients; 0 is the stem alone, -1
            nothing.
        norm_cfg: `dict(type='BN' | 'SyncBN' | 'GN', requires_grad=..., ...)`.
        norm_eval: Keep every BatchNorm in eval mode while training.
        drop_path_rate: Of the last block; it grows linearly from 0.
        strides: Of each stage's first block, 1 or 2.
        dilations: Of the windows of each stage.
        with_cp: Compute the activations of blocks again in the backward pass instead of keeping them.
        zero_init_residual: Start the last norm weight of every block at 0.
        kernel_size: Side of all windows.
        widths: Inner channels of each stage.
        shares: Channels that share a weight, of each stage.
        similarity: Of all layers, see `LocalRelation`.
        prior: Of all layers, see `LocalRelation`.
        init_cfg: Weight initialisation of the mm family.

    Attributes:
        out_channels: Channels of the returned maps.
        strides: Pixels per position of the returned maps.

    Raises:
        ValueError: An argument outside its choices, or arguments that contradict each other.

    Example:
        >>> import torch
        >>> maps = LRNet(26, out_indices=(0, 3)).eval()(torch.zeros(1, 3, 64, 64))
        >>> [tuple(m.shape[1:]) for m in maps]
        [(256, 16, 16), (2048, 2, 2)]
    """

    out_channels: list[int]
    strides: list[int]

    def __init__(
        self,
        depth: int | Sequence[int] = 50,
        in_channels: int = 3,
        *,
        out_indices: Sequence[int] = (3,),
        frozen_stages: int = -1,
        norm_cfg: dict | None = None,
        norm_eval: bool = False,
        drop_path_rate: float = 0.0,
        strides: Sequence[int] = (1, 2, 2, 2),
        dilations: Sequence[int] = (1, 1, 1, 1),
        with_cp: bool = False,
        zero_init_residual: bool = True,
        kernel_size: int = 7,
        widths: Sequence[int] = (100, 200, 400, 800),
        shares: Sequence[int] = (10, 8, 8, 8),
        similarity: str = "neg_squared",
        prior: Literal["geometry", "table"] = "geometry",
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if isinstance(depth, int) and depth not in _DEPTHS:
            raise ValueError(
                f"LRNet depth must be one of {sorted(_DEPTHS)}, or blocks of each stage; got {depth!r}."
            )
        depths = _DEPTHS[depth] if isinstance(depth, int) else tuple(depth)
        per_stage = dict(planes=_PLANES, depths=depths, widths=widths, shares=shares)
        check_stages(per_stage | dict(strides=strides, dilations=dilations), out_indices)
        self.out_indices = tuple(out_indices)
        num_stages = self.out_indices[-1] + 1
        check_frozen_stages(frozen_stages, self.out_indices)
        self.depth = depth
        self.norm_cfg = norm_cfg = norm_cfg or dict(type="BN")
        self.norm_eval = norm_eval
        self.frozen_stages = frozen_stages
        self.with_cp = with_cp
        self.relation = dict(kernel_size=kernel_size, similarity=similarity, prior=prior)

        self.conv1 = nn.Sequential(
            nn.Conv2d(in_channels, _STEM_CHANNELS, 1, bias=False),
            norm_layer(norm_cfg, _STEM_CHANNELS, maps=True),
            nn.ReLU(inplace=True),
            LocalRelation(_STEM_CHANNELS, stride=2, **self.relation),
        )
        self.bn1 = norm_layer(norm_cfg, _STEM_CHANNELS, maps=True)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        drops = [drop_path_rate * block / max(sum(depths) - 1, 1) for block in range(sum(depths))]
        channels, total, reductions = _STEM_CHANNELS, _STEM_STRIDE, []
        for stage in range(num_stages):
            first = sum(depths[:stage])
            blocks = self._blocks(
                channels,
                _PLANES[stage],
                widths[stage],
                share=shares[stage],
                stride=strides[stage],
                dilation=dilations[stage],
                drops=drops[first : first + depths[stage]],
            )
            self.add_module(f"layer{stage + 1}", blocks)
            channels, total = EXPANSION * _PLANES[stage], total * strides[stage]
            reductions.append(total)
        self.out_channels = [EXPANSION * _PLANES[stage] for stage in self.out_indices]
        self.strides = [reductions[stage] for stage in self.out_indices]
        self._initialise(zero_init_residual)
        self.freeze()

    def _blocks(
        self,
        in_channels: int,
        planes: int,
        width: int,
        *,
        share: int,
        stride: int,
        dilation: int,
        drops: Sequence[float],
    ) -> nn.Sequential:
        blocks = []
        for block, drop in enumerate(drops):
            first_stride = stride if block == 0 else 1
            mixer = nn.Sequential(
                LocalRelation(
                    width, share=share, stride=first_stride, dilation=dilation, **self.relation
                ),
                norm_layer(self.norm_cfg, width, maps=True),
                nn.ReLU(inplace=True),
            )
            blocks.append(
                CoTBottleneck(
                    in_channels,
                    planes,
                    width,
                    mixer=mixer,
                    stride=first_stride,
                    has_shortcut=first_stride > 1 or in_channels != EXPANSION * planes,
                    drop_path=drop,
                    norm_cfg=self.norm_cfg,
                    with_cp=self.with_cp,
                )
            )
            in_channels = EXPANSION * planes
        return nn.Sequential(*blocks)

    def _initialise(self, zero_init_residual: bool) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif zero_init_residual and isinstance(module, CoTBottleneck):
                nn.init.zeros_(module.bn3.weight)
        for module in self.modules():
            if isinstance(module, LocalRelation):
                module.reset_parameters()
