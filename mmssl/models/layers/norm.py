"""norm_layer: the normalisation layer that a `norm_cfg` of the mm family describes."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

_KINDS: dict[str, tuple[type[nn.Module] | None, type[nn.Module] | None]] = {
    # name: (for vectors, for maps)
    "BN": (nn.BatchNorm1d, nn.BatchNorm2d),
    "BN1d": (nn.BatchNorm1d, None),
    "BN2d": (None, nn.BatchNorm2d),
    "SyncBN": (nn.SyncBatchNorm, nn.SyncBatchNorm),
    "LN": (nn.LayerNorm, None),
    "GN": (nn.GroupNorm, nn.GroupNorm),
}


def norm_layer(norm_cfg: dict, num_features: int, *, maps: bool) -> nn.Module:
    """Build a normalisation layer.

    Args:
        norm_cfg: `dict(type='BN' | 'BN1d' | 'BN2d' | 'SyncBN' | 'GN' | 'LN', requires_grad=True, ...)`;
            further entries go to the layer (`eps`, `momentum`, `affine`, `num_groups`). A BatchNorm with
            `bias=False` scales without a shift.
        num_features: Channels.
        maps: Whether the layer sees (B, C, H, W) maps, or else (B, C) vectors.

    Raises:
        ValueError: A type that is unknown or does not suit the input, or `GN` without `num_groups`.

    Example:
        >>> norm_layer(dict(type="BN", eps=1e-3), 8, maps=True)
        BatchNorm2d(8, eps=0.001, momentum=0.1, affine=True, track_running_stats=True)
    """
    options = {
        key: value for key, value in norm_cfg.items() if key not in ("type", "requires_grad")
    }
    kind = norm_cfg.get("type")
    layer = _KINDS.get(str(kind), (None, None))[int(maps)]
    if layer is None:
        possible = [name for name, layers in _KINDS.items() if layers[int(maps)] is not None]
        raise ValueError(
            f"norm_cfg.type must be one of {possible} for {'maps' if maps else 'vectors'}, got {kind!r}."
        )
    shift = options.pop("bias", True) if issubclass(layer, _BatchNorm) else True
    if layer is nn.GroupNorm:
        if "num_groups" not in options:
            raise ValueError(f"norm_cfg of type 'GN' needs num_groups, got {norm_cfg}.")
        module: nn.Module = nn.GroupNorm(num_channels=num_features, **options)
    else:
        module = layer(num_features, **options)
    if not shift and module.bias is not None:
        # constant zeros, and in no checkpoint: some kernels want a scale and a shift, or neither
        zeros = torch.zeros_like(module.bias.detach())
        del module.bias
        module.register_buffer("bias", zeros, persistent=False)
    return module.requires_grad_(norm_cfg.get("requires_grad", True))
