from .checkpoint_file import load_weights_file
from .load_backbone import load_backbone
from .load_report import LoadReport, weights_checksum
from .pretrained_backbone import PretrainedBackbone

__all__ = [
    "LoadReport",
    "PretrainedBackbone",
    "load_backbone",
    "load_weights_file",
    "weights_checksum",
]
