from .attention_stack import AttentionStack
from .avg_pool import AvgPool
from .conv_mlp_neck import ConvMLPNeck
from .dense_cl_neck import DenseCLNeck, DenseEmbeddings
from .dense_towers import DenseTowers
from .detector_pyramid import DetectorPyramid
from .level_projector import cell_projector, project_levels
from .mlp_neck import MLPNeck

__all__ = [
    "AttentionStack",
    "AvgPool",
    "ConvMLPNeck",
    "DenseCLNeck",
    "DenseEmbeddings",
    "DenseTowers",
    "DetectorPyramid",
    "MLPNeck",
    "cell_projector",
    "project_levels",
]
