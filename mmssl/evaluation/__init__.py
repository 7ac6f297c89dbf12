from .attention_entropy import HeadEntropies, measure_attention_entropy
from .collapse import alignment, alpha_req, effective_rank, feature_std, lidar, uniformity
from .collapse_doctor import CollapseDoctor, Fault
from .correspondence import (
    CorrespondenceResult,
    correspondence_views,
    measure_correspondence,
)
from .features import (
    Features,
    evaluation_loader,
    extract_features,
    labelled,
    match_classes,
    select_backbone,
)
from .linear_probe import LinearProbeResult, hold_out, linear_probe
from .multi_label_precision import MultiLabelPrecision
from .rng import preserved_rng
from .top_k_accuracy import TopKAccuracy

__all__ = [
    "CollapseDoctor",
    "CorrespondenceResult",
    "Fault",
    "Features",
    "HeadEntropies",
    "LinearProbeResult",
    "MultiLabelPrecision",
    "TopKAccuracy",
    "alignment",
    "alpha_req",
    "correspondence_views",
    "effective_rank",
    "evaluation_loader",
    "extract_features",
    "feature_std",
    "hold_out",
    "labelled",
    "lidar",
    "linear_probe",
    "match_classes",
    "measure_attention_entropy",
    "measure_correspondence",
    "preserved_rng",
    "select_backbone",
    "uniformity",
]
