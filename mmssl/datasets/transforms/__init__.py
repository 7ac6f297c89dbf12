from .base import GeometricTransform, PhotometricTransform
from .colour_components import ColourComponents, HsvPower
from .crops import CornerCrop, PatchGrid, RandomCrop
from .device import apply_photometric
from .foreign import ForeignPhotometric
from .geometric import CenterCrop, HorizontalFlip, RandomResizedCrop, Resize, VerticalFlip
from .multi_view import MultiView, Views
from .one_of import OneOf
from .photometric import (
    ColorJitter,
    GaussianBlur,
    PackedTransform,
    RandomGrayscale,
    Solarize,
)
from .rand_augment import RandAugment
from .view_random import ViewRandom, shuffled_positions

__all__ = [
    "CenterCrop",
    "ColorJitter",
    "ColourComponents",
    "CornerCrop",
    "ForeignPhotometric",
    "GaussianBlur",
    "GeometricTransform",
    "HorizontalFlip",
    "HsvPower",
    "MultiView",
    "OneOf",
    "PackedTransform",
    "PatchGrid",
    "PhotometricTransform",
    "RandAugment",
    "RandomCrop",
    "RandomGrayscale",
    "RandomResizedCrop",
    "Resize",
    "Solarize",
    "VerticalFlip",
    "ViewRandom",
    "Views",
    "apply_photometric",
    "shuffled_positions",
]
