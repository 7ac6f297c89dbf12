from .collapse import alignment, alpha_req, effective_rank, feature_std, lidar, uniformity
from .collapse_doctor import CollapseDoctor, Fault
from .features import (
    Features,
    evaluation_loader,
    extract_features,
    labelled,
    match_classes,
    select_backbone,
)
from .linear_probe import LinearProbeResult, hold_out, linear_probe
from .rng import preserved_rng

__all__ = [
    "CollapseDoctor",
    "Fault",
    "Features",
    "LinearProbeResult",
    "alignment",
    "alpha_req",
    "effective_rank",
    "evaluation_loader",
    "extract_features",
    "feature_std",
    "hold_out",
    "labelled",
    "lidar",
    "linear_probe",
    "match_classes",
    "preserved_rng",
    "select_backbone",
    "uniformity",
]
