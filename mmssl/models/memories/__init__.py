from .center import Center
from .feature_queue import FeatureQueue

__all__ = ["Center", "FeatureQueue"]
