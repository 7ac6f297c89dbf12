from .progress import Progress
from .view_batch import ViewBatch

__all__ = ["Progress", "ViewBatch"]
