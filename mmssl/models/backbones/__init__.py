from .resnet import ResNet
from .swin import Swin
from .timm_backbone import TimmBackbone

__all__ = ["ResNet", "Swin", "TimmBackbone"]
