"""The RoI head's last ResNet stage with one more normalisation behind it.

Momentum Contrast for Unsupervised Visual Representation Learning (2019, arXiv 1911.05722), C4
models: fine-tuned batch normalisation needs a norm on what the heads receive, because the last
stage of a pretrained network has an unnormalised output of unknown scale. Same place as in the
detectron2 model of github.com/facebookresearch/moco: after the stage, before pooling and masks.
"""

from __future__ import annotations

from mmcv.cnn import build_norm_layer
from mmdet.models.backbones import ResNet
from mmdet.models.roi_heads.shared_heads import ResLayer
from torch import Tensor

from mmssl.registry import MODELS


@MODELS.register_module()
class ResLayerExtraNorm(ResLayer):
    """mmdet's `ResLayer` followed by a norm over its output channels.

    Parameters are `layer{stage + 1}.*`, as in the backbone's file, and `norm.*`, which no
    pretrained file holds.

    Args:
        depth: ResNet depth: 18, 34, 50, 101 or 152.
        stage: 0-based index of the ResNet stage.
        norm_cfg: Norm of the stage and of the extra layer.
        **kwargs: `stride`, `dilation`, `style`, `norm_eval`, ... of mmdet's `ResLayer`.
    """

    def __init__(self, depth: int, stage: int = 3, *, norm_cfg: dict, **kwargs) -> None:
        super().__init__(depth, stage, norm_cfg=norm_cfg, **kwargs)
        channels = 64 * 2**stage * ResNet.arch_settings[depth][0].expansion
        self.norm = build_norm_layer(norm_cfg, channels)[1]

    def forward(self, x: Tensor) -> Tensor:
        """Features of the heads.

        Args:
            x: (R, C, h, w) pooled features of R regions.

        Returns:
            (R, 64 * 2**stage * expansion, h / stride, w / stride) normalised, not rectified.
        """
        return self.norm(super().forward(x))
