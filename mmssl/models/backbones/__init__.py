from .resnet import ResNet
from .swin import Swin
from .timm_backbone import TimmBackbone
from .view_feature import view_and_map

__all__ = ["ResNet", "Swin", "TimmBackbone", "view_and_map"]
