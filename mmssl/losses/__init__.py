from .contrastive import info_nce
from .cosine import cosine_regression, unit_norm
from .distillation import distillation, mixed_distillation, pair_weights
from .guidance import guidance
from .prototype_distillation import prototype_distillation
from .region import matched_regression, region_pairs

__all__ = [
    "cosine_regression",
    "distillation",
    "guidance",
    "info_nce",
    "matched_regression",
    "mixed_distillation",
    "pair_weights",
    "prototype_distillation",
    "region_pairs",
    "unit_norm",
]
