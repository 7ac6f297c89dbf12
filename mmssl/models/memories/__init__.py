from .center import Center
from .feature_bank import FeatureBank
from .feature_queue import FeatureQueue
from .prototypes import Prototypes

__all__ = ["Center", "FeatureBank", "FeatureQueue", "Prototypes"]
