from .base import BaseAlgorithm
from .byol import BYOL
from .care import CARE
from .dino import DINO
from .esvit import EsViT
from .moby import MoBY

__all__ = ["BYOL", "CARE", "DINO", "BaseAlgorithm", "EsViT", "MoBY"]
