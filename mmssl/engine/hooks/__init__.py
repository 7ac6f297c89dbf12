from .bad_files_hook import BadFilesHook
from .best_epoch_hook import BestEpochHook
from .checkpoint_hook import CheckpointHook, latest_checkpoint
from .class_check_hook import ClassCheckHook
from .cluster_hook import ClusterHook
from .collapse_hook import CollapseError, CollapseHook
from .continuation_hook import ContinuationHook
from .correspondence_hook import CorrespondenceHook
from .data_time_hook import DataTimeHook
from .finite_loss_hook import FiniteLossHook, NonFiniteLossError
from .freeze_hook import FreezeHook
from .frozen_check_hook import FrozenCheckHook
from .instance_rows_hook import InstanceRowsHook
from .knn_hook import KNNHook
from .memory_cluster_hook import MemoryClusterHook
from .momentum_update_hook import MomentumUpdateHook
from .norm_average_hook import NormAverageHook
from .preemption_hook import Preempted, PreemptionHook
from .progress_hook import ProgressHook
from .report_hook import ReportHook
from .resume_state_hook import ResumeStateHook
from .step_seed_hook import StepSeedHook
from .test_best_hook import TestBestHook

__all__ = [
    "BadFilesHook",
    "BestEpochHook",
    "CheckpointHook",
    "ClassCheckHook",
    "ClusterHook",
    "CollapseError",
    "CollapseHook",
    "ContinuationHook",
    "CorrespondenceHook",
    "DataTimeHook",
    "FiniteLossHook",
    "FreezeHook",
    "FrozenCheckHook",
    "InstanceRowsHook",
    "KNNHook",
    "MemoryClusterHook",
    "MomentumUpdateHook",
    "NonFiniteLossError",
    "NormAverageHook",
    "Preempted",
    "PreemptionHook",
    "ProgressHook",
    "ReportHook",
    "ResumeStateHook",
    "StepSeedHook",
    "TestBestHook",
    "latest_checkpoint",
]
