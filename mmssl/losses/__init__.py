from .contrastive import info_nce
from .cosine import cosine_regression, unit_norm
from .distillation import distillation, match_regions, match_views, pair_weights
from .guidance import guidance

__all__ = [
    "cosine_regression",
    "distillation",
    "guidance",
    "info_nce",
    "match_regions",
    "match_views",
    "pair_weights",
    "unit_norm",
]
