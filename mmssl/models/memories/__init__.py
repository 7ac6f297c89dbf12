from .center import Center
from .epoch_memory import EpochMemory
from .feature_bank import FeatureBank
from .feature_queue import FeatureQueue
from .idle_cohorts import IdleCohorts
from .instance_rows import InstanceRows
from .prototypes import Prototypes
from .recent_instances import RecentInstances
from .row_store import RowStore

__all__ = [
    "Center",
    "EpochMemory",
    "FeatureBank",
    "FeatureQueue",
    "IdleCohorts",
    "InstanceRows",
    "Prototypes",
    "RecentInstances",
    "RowStore",
]
