"""DenseTowers: the convolutions in front of the predictors of a dense detector (FCOS, RetinaNet, ATSS).

FCOS: fully convolutional one-stage object detection, 2019, arXiv 1904.01355; layers and names of mmdet's
`FCOSHead`, without the predictors, whose task pretraining does not have.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Literal

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmssl.registry import MODELS

Branch = Literal["cls", "reg"]
BRANCHES: tuple[Branch, ...] = ("cls", "reg")
GROUP_NORM = dict(type="GN", num_groups=32)
SMALL_NORMAL = dict(type="Normal", layer="Conv2d", std=0.01)


def require_detection(what: str) -> None:
    """Raise if mmdet is not installed.

    Args:
        what: Who needs it: the subject of the message.

    Raises:
        ImportError: It is not; says how to install it.
    """
    if importlib.util.find_spec("mmdet") is None:
        raise ImportError(
            f"{what} is built from mmdet, which is not installed. Install it with "
            "pip install '.[downstream]' in the checkout."
        )


@MODELS.register_module()
class DenseTowers(BaseModule):
    """Towers of 3x3 convolutions over pyramid maps, shared by all levels as in the detector.

    `cls_convs` and `reg_convs` have the names, shapes and initialisation that they have in the head of the
    detector, so that weights move there unrenamed.

    Args:
        in_channels: Of the pyramid's maps.
        feat_channels: Of the towers' maps.
        stacked_convs: Convolutions of a tower.
        branches: Which towers there are: `cls` (classification), `reg` (boxes) or both.
        norm_cfg: Norm behind every convolution; `None` is RetinaNet's.
        conv_bias: Whether convolutions have a bias; `auto` gives them one if there is no norm.
        init_cfg: Weight initialisation of the mm family; default FCOS's.

    Raises:
        ImportError: mmdet is not installed.
        ValueError: Other branches, or no convolution.
    """

    def __init__(
        self,
        in_channels: int = 256,
        feat_channels: int = 256,
        *,
        stacked_convs: int = 4,
        branches: Sequence[Branch] = BRANCHES,
        norm_cfg: dict | None = GROUP_NORM,
        conv_bias: bool | Literal["auto"] = "auto",
        init_cfg: dict | list[dict] | None = SMALL_NORMAL,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        require_detection("DenseTowers")
        from mmcv.cnn import ConvModule

        if not branches or len(set(branches)) < len(branches) or not {*branches} <= {*BRANCHES}:
            raise ValueError(
                f"branches must be 'cls', 'reg' or both, each once, got {tuple(branches)}."
            )
        if stacked_convs < 1:
            raise ValueError(f"A tower has at least one convolution, got {stacked_convs=}.")
        self.in_channels = in_channels
        self.feat_channels = feat_channels
        self.stacked_convs = stacked_convs
        self.norm_cfg = norm_cfg
        self.conv_bias = conv_bias
        self.branches = tuple(branches)
        for branch in self.branches:
            convs = [
                ConvModule(
                    feat_channels if i else in_channels,
                    feat_channels,
                    3,
                    padding=1,
                    norm_cfg=norm_cfg,
                    bias=conv_bias,
                )
                for i in range(stacked_convs)
            ]
            self.add_module(f"{branch}_convs", nn.ModuleList(convs))

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The towers' outputs.

        Args:
            maps: One (B, in_channels, H, W) for each level.

        Returns:
            (B, feat_channels, H, W) of the first branch for each level, then those of the second.
        """
        outs = []
        for branch in self.branches:
            for x in maps:
                for conv in self.get_submodule(f"{branch}_convs").children():
                    x = conv(x)
                outs.append(x)
        return tuple(outs)
