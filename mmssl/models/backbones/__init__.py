from .cotnet import CoTNet
from .cvt import CvT
from .lr_net import LRNet
from .multi_crop import CropFeatures, crop_features, sampled_regions
from .resnet import ResNet
from .swin import Swin
from .timm_backbone import TimmBackbone
from .view_feature import view_and_map
from .vision_longformer import ViL
from .vision_transformer import VisionTransformer

__all__ = [
    "CoTNet",
    "CropFeatures",
    "CvT",
    "LRNet",
    "ResNet",
    "Swin",
    "TimmBackbone",
    "ViL",
    "VisionTransformer",
    "crop_features",
    "sampled_regions",
    "view_and_map",
]
