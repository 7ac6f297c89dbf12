from .cosine import cosine_regression, unit_norm
from .guidance import guidance

__all__ = ["cosine_regression", "guidance", "unit_norm"]
