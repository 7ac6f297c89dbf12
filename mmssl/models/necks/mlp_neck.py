"""MLPNeck: the projector of BYOL, CARE and their kin."""

from __future__ import annotations

from mmssl.models.layers import MLP
from mmssl.registry import MODELS


@MODELS.register_module()
class MLPNeck(MLP):
    """Project pooled features (B, C) to embeddings (B, D); see `MLP` for the arguments.

    BYOL: `norm_cfg=dict(type='SyncBN'), last_bias=False`. CARE: `norm_cfg=dict(type='SyncBN')`.

    Example:
        >>> MLPNeck(8, 16, 4, norm_cfg=dict(type="BN1d"), last_bias=False).layers[3].bias is None
        True
    """
