from .attention_entropy import HeadEntropies, measure_attention_entropy
from .average_precision import average_precision
from .clustering import (
    ClusteringResult,
    ClusterScores,
    TreeScores,
    cluster_features,
    score_clusters,
    score_tree,
)
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
from .logistic_regression import LogisticResult, logistic_regression
from .mining import MiningCounts, MiningMetrics, mining_counts
from .multi_label_precision import MultiLabelPrecision
from .rng import preserved_rng
from .svm import LowShotResult, SvmResult, linear_svm
from .top_k_accuracy import TopKAccuracy

__all__ = [
    "ClusterScores",
    "ClusteringResult",
    "CollapseDoctor",
    "CorrespondenceResult",
    "Fault",
    "Features",
    "HeadEntropies",
    "LinearProbeResult",
    "LogisticResult",
    "LowShotResult",
    "MiningCounts",
    "MiningMetrics",
    "MultiLabelPrecision",
    "SvmResult",
    "TopKAccuracy",
    "TreeScores",
    "alignment",
    "alpha_req",
    "average_precision",
    "cluster_features",
    "correspondence_views",
    "effective_rank",
    "evaluation_loader",
    "extract_features",
    "feature_std",
    "hold_out",
    "labelled",
    "lidar",
    "linear_probe",
    "linear_svm",
    "logistic_regression",
    "match_classes",
    "measure_attention_entropy",
    "measure_correspondence",
    "mining_counts",
    "preserved_rng",
    "score_clusters",
    "score_tree",
    "select_backbone",
    "uniformity",
]
