from .dino_head import DINOHead
from .instance_classifier import InstanceClassifier
from .linear_head import LinearHead
from .mlp_predictor import MLPPredictor
from .pixel_propagation import PixelPropagation

__all__ = ["DINOHead", "InstanceClassifier", "LinearHead", "MLPPredictor", "PixelPropagation"]
