from .base import BaseAlgorithm
from .byol import BYOL
from .care import CARE
from .moby import MoBY

__all__ = ["BYOL", "CARE", "BaseAlgorithm", "MoBY"]
