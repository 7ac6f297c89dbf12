"""MLPPredictor: what the online branch of BYOL and CARE puts on its projection."""

from __future__ import annotations

from mmssl.models.layers import MLP
from mmssl.registry import MODELS


@MODELS.register_module()
class MLPPredictor(MLP):
    """Predict the twin's embedding (B, D) from the online one (B, D); see `MLP` for the arguments."""
