"""check_pooled_norm: BatchNorm over one vector per image needs several images."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmssl.ops.collectives import world_size


def check_pooled_norm(norm: nn.Module, pooled: Tensor) -> None:
    """Refuse a training batch whose pooled vectors a BatchNorm cannot normalise.

    A gate of the whole map (CoT's fusion, squeeze-and-excitation) normalises one vector per image. Its batch
    is the number of images, however large the maps are: of one image there is no variance, and of two the
    result is about +1 and -1 whatever they show, so that no gradient passes.

    Args:
        norm: The layer that comes next; only BatchNorm with batch statistics is concerned.
        pooled: (N, C, 1, 1) pooled maps of this process.

    Raises:
        ValueError: One image, and no other process whose images `norm` sees.

    Warns:
        UserWarning: Two images; once per process, by Python's filter.
    """
    if not (norm.training and isinstance(norm, _BatchNorm)):
        return
    num = pooled.shape[0]
    if isinstance(norm, nn.SyncBatchNorm):
        num = num * world_size()
    if num == 1:
        raise ValueError(
            "In training the BatchNorm of a pooled gate (CoTNet's fusion, SE-conv) normalises one vector per "
            "image, so it needs at least 2 images and got 1. Use norm_cfg=dict(type='SyncBN') on several "
            "processes, norm_eval=True, or more images per process."
        )
    if num == 2 and not torch.compiler.is_compiling():
        warnings.warn(
            "In training the BatchNorm of a pooled gate (CoTNet's fusion, SE-conv) sees 2 images: it returns "
            "about +1 and -1 whatever they show, and nearly no gradient passes. Use "
            "norm_cfg=dict(type='SyncBN') on several processes, norm_eval=True, or more images per process.",
            stacklevel=2,
        )
