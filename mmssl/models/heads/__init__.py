from .dino_head import DINOHead
from .instance_classifier import InstanceClassifier
from .jigsaw_head import JigsawHead
from .linear_head import LinearHead
from .mlp_predictor import MLPPredictor
from .pixel_propagation import PixelPropagation
from .prototypes_head import PrototypesHead

__all__ = [
    "DINOHead",
    "InstanceClassifier",
    "JigsawHead",
    "LinearHead",
    "MLPPredictor",
    "PixelPropagation",
    "PrototypesHead",
]
