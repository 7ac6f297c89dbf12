from .cosine import cosine_regression, unit_norm
from .distillation import distillation, match_regions, match_views, pair_weights
from .guidance import guidance

__all__ = [
    "cosine_regression",
    "distillation",
    "guidance",
    "match_regions",
    "match_views",
    "pair_weights",
    "unit_norm",
]
