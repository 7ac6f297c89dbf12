"""Projections of the cells of all levels of a network: what PixPro and PixContrast have in common."""

from __future__ import annotations

from torch import Tensor, nn

from mmssl.registry import MODELS, build_module


def cell_projector(config: nn.Module | dict, in_channels: int) -> nn.Module:
    """A `ConvMLPNeck` with BatchNorm behind its hidden layers, where the config says nothing else.

    Args:
        config: Config; it may leave out `type`, `in_channels` and `norm_cfg`. A module is returned as it is.
        in_channels: Channels of the maps.

    Example:
        >>> cell_projector(dict(hid_channels=16, out_channels=4), 8).layers[1]
        BatchNorm2d(16, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)
    """
    # Without norms in the projector PixPro collapses, so they are not left to the config.
    norm = dict(type="BN")
    return build_module(
        MODELS, config, type="mmssl.ConvMLPNeck", in_channels=in_channels, norm_cfg=norm
    )


def project_levels(net: nn.Module, images: Tensor) -> tuple[list[Tensor], Tensor]:
    """Project the maps of a network's pyramid, or the last one of its backbone where there is none.

    Args:
        net: Has `backbone`, `neck` (one for all levels) and maybe `pyramid`: an algorithm or its twin.
        images: (B, 3, H, W) of one view.

    Returns:
        Projected maps (B, D, h, w) of all levels, and the backbone's last map (B, C, h, w).
    """
    maps = net.backbone(images)
    pyramid = getattr(net, "pyramid", None)  # a twin leaves out what its owner does not have
    levels = maps[-1:] if pyramid is None else pyramid(maps)
    return [net.neck(level) for level in levels], maps[-1]
