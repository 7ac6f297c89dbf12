from .linear_head import LinearHead
from .mlp_predictor import MLPPredictor

__all__ = ["LinearHead", "MLPPredictor"]
