from . import algorithms, backbones, heads, layers, memories, necks
from .data_preprocessor import ViewPreprocessor
from .momentum_twin import MomentumTwin

__all__ = [
    "MomentumTwin",
    "ViewPreprocessor",
    "algorithms",
    "backbones",
    "heads",
    "layers",
    "memories",
    "necks",
]
