from .base import BaseAlgorithm
from .byol import BYOL
from .care import CARE

__all__ = ["BYOL", "CARE", "BaseAlgorithm"]
