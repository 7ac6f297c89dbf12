"""The settings of a detector's FPN and towers, read from the built modules, so that two can be compared.

Weights of an FPN fit another one whose extra levels start elsewhere, or whose norm is missing: the maps
then differ without any error of shapes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def _norm(conv: Any) -> str | None:
    """Kind of the norm of an mmcv `ConvModule`; BN and SyncBN are one network."""
    if not conv.with_norm:
        return None
    if isinstance(conv.norm, nn.GroupNorm):
        return f"GN of {conv.norm.num_groups} groups"
    return "BN" if isinstance(conv.norm, _BatchNorm) else type(conv.norm).__name__


def _activation(conv: Any) -> str | None:
    return type(conv.activate).__name__ if conv.with_activation else None


def neck_settings(neck: Any) -> dict[str, Any]:
    """What makes two FPNs with equal weights the same function, as plain data under the names of the config.

    `in_channels` are those of the maps that are read, from `start_level` on: a trunk without C2 in front of
    an FPN from 0 on is the same as one with C2 and `start_level=1`.

    Args:
        neck: An FPN of mmdet; levels may be left out (`DetectorPyramid`).
    """
    lateral = neck.lateral_convs[-1]
    output = next(conv for conv in neck.fpn_convs if hasattr(conv, "with_norm"))
    return dict(
        type=type(neck).__name__,
        in_channels=list(neck.in_channels[neck.start_level : neck.backbone_end_level]),
        out_channels=neck.out_channels,
        num_outs=neck.num_outs,
        add_extra_convs=neck.add_extra_convs,
        relu_before_extra_convs=neck.relu_before_extra_convs,
        norm_cfg=_norm(output),
        no_norm_on_lateral=_norm(lateral) is None and _norm(output) is not None,
        act_cfg=_activation(output),
        upsample_cfg=dict(neck.upsample_cfg),
    )


def tower_settings(head: Any, branches: Sequence[str]) -> dict[str, Any]:
    """The same of the towers of a dense head.

    Args:
        head: `DenseTowers`, or a dense head of mmdet that has these towers.
        branches: `cls`, `reg` or both.
    """
    convs = getattr(head, f"{branches[0]}_convs")
    return dict(
        in_channels=head.in_channels,
        feat_channels=head.feat_channels,
        stacked_convs=len(convs),
        norm_cfg=_norm(convs[0]),
        conv_bias=convs[0].conv.bias is not None,
        act_cfg=_activation(convs[0]),
    )


def different_settings(part: str, pretrained: Mapping[str, Any], given: Mapping[str, Any]) -> list:
    """Sentences about settings that are not as pretrained.

    Args:
        part: The name of the part in the detector, which stands in front of each key.
        pretrained: Settings of the pretraining.
        given: Those of the detector.
    """
    return [
        f"{part}.{key} is {given.get(key)!r}, pretrained with {value!r}"
        for key, value in pretrained.items()
        if given.get(key) != value
    ]
