from .barlow_twins import BarlowTwins
from .base import BaseAlgorithm
from .byol import BYOL
from .care import CARE
from .clsa import CLSA
from .deepcluster_v2 import DeepClusterV2
from .densecl import DenseCL
from .dino import DINO
from .esvit import EsViT
from .hcsc import HCSC
from .image_classifier import ImageClassifier
from .infomin import InfoMin
from .moby import MoBY
from .moco import MoCo
from .moco_v3 import MoCoV3
from .npid import NPID
from .pcl import PCL
from .pic import PIC
from .pixcontrast import PixContrast
from .pixpro import PixPro
from .simclr import SimCLR
from .simsiam import SimSiam
from .swav import SwAV

__all__ = [
    "BYOL",
    "CARE",
    "CLSA",
    "DINO",
    "HCSC",
    "NPID",
    "PCL",
    "PIC",
    "BarlowTwins",
    "BaseAlgorithm",
    "DeepClusterV2",
    "DenseCL",
    "EsViT",
    "ImageClassifier",
    "InfoMin",
    "MoBY",
    "MoCo",
    "MoCoV3",
    "PixContrast",
    "PixPro",
    "SimCLR",
    "SimSiam",
    "SwAV",
]
