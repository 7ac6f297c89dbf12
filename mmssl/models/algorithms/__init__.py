from .base import BaseAlgorithm
from .byol import BYOL
from .care import CARE
from .densecl import DenseCL
from .dino import DINO
from .esvit import EsViT
from .hcsc import HCSC
from .image_classifier import ImageClassifier
from .moby import MoBY
from .moco import MoCo
from .npid import NPID
from .pcl import PCL
from .pic import PIC
from .pixcontrast import PixContrast
from .pixpro import PixPro
from .simclr import SimCLR

__all__ = [
    "BYOL",
    "CARE",
    "DINO",
    "HCSC",
    "NPID",
    "PCL",
    "PIC",
    "BaseAlgorithm",
    "DenseCL",
    "EsViT",
    "ImageClassifier",
    "MoBY",
    "MoCo",
    "PixContrast",
    "PixPro",
    "SimCLR",
]
