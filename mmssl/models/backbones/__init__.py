from .multi_crop import CropFeatures, crop_features, sampled_regions
from .resnet import ResNet
from .swin import Swin
from .timm_backbone import TimmBackbone
from .view_feature import view_and_map
from .vision_transformer import VisionTransformer

__all__ = ["CropFeatures", "crop_features", "sampled_regions", "ResNet", "Swin", "TimmBackbone", "VisionTransformer", "view_and_map"]
