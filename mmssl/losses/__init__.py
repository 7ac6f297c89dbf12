from .classification import class_cross_entropy, mixed_targets, multi_label_cross_entropy
from .cluster_assignment import assignment_cross_entropy
from .contrastive import contrast_among, info_nce
from .cosine import cosine_regression, unit_norm
from .dense_contrast import best_cells, chunked_info_nce
from .distillation import distillation, mixed_distillation, pair_weights
from .feature_bank import bank_loss, instance_cross_entropy, noise_contrastive
from .guidance import guidance
from .instance_softmax import InstanceSoftmax, instance_softmax
from .nt_xent import nt_xent, view_logits
from .pixel import cell_std, pixel_consistency, pixel_contrast
from .prototype import (
    keep_probability,
    prototype_contrast,
    selective_info_nce,
    shared_prototype_contrast,
)
from .prototype_distillation import prototype_distillation, teacher_entropy
from .redundancy import redundancy_reduction
from .region import matched_regression, region_pairs

__all__ = [
    "InstanceSoftmax",
    "assignment_cross_entropy",
    "bank_loss",
    "best_cells",
    "cell_std",
    "chunked_info_nce",
    "class_cross_entropy",
    "contrast_among",
    "cosine_regression",
    "distillation",
    "guidance",
    "info_nce",
    "instance_cross_entropy",
    "instance_softmax",
    "keep_probability",
    "matched_regression",
    "mixed_distillation",
    "mixed_targets",
    "multi_label_cross_entropy",
    "noise_contrastive",
    "nt_xent",
    "pair_weights",
    "pixel_consistency",
    "pixel_contrast",
    "prototype_contrast",
    "prototype_distillation",
    "redundancy_reduction",
    "region_pairs",
    "selective_info_nce",
    "shared_prototype_contrast",
    "teacher_entropy",
    "unit_norm",
    "view_logits",
]
