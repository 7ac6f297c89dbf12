from .clustering import Clustering
from .predictions import Predictions
from .progress import Progress
from .view_batch import ViewBatch

__all__ = ["Clustering", "Predictions", "Progress", "ViewBatch"]
