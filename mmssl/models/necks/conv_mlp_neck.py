"""ConvMLPNeck: the projector of PixPro and PixContrast, which keeps the map."""

from __future__ import annotations

from mmssl.models.layers import ConvMLP
from mmssl.registry import MODELS


@MODELS.register_module()
class ConvMLPNeck(ConvMLP):
    """Project every cell of a map (B, C, H, W) to an embedding (B, D, H, W); see `ConvMLP` for the arguments.

    The released code is 2048 - 4096 - 256 (the paper says 2048 hidden channels), each convolution with
    bias, BatchNorm over all cells of the batch: `norm_cfg=dict(type='SyncBN')`. The same structure, with
    `in_channels` 256, is the predictor of PixPro's instance branch.

    Example:
        >>> import torch
        >>> neck = ConvMLPNeck(8, 16, 4, norm_cfg=dict(type="BN"))
        >>> neck(torch.zeros(2, 8, 7, 5)).shape
        torch.Size([2, 4, 7, 5])
    """
