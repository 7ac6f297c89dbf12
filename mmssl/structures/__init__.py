from .clustering import Clustering
from .progress import Progress
from .view_batch import ViewBatch

__all__ = ["Clustering", "Progress", "ViewBatch"]
