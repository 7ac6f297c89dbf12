from .base import GeometricTransform, PhotometricTransform
from .device import apply_photometric
from .foreign import ForeignPhotometric
from .geometric import CenterCrop, HorizontalFlip, RandomResizedCrop, Resize
from .multi_view import MultiView, Views
from .photometric import (
    ColorJitter,
    GaussianBlur,
    PackedTransform,
    RandomGrayscale,
    Solarize,
)
from .view_random import ViewRandom, shuffled_positions

__all__ = [
    "CenterCrop",
    "ColorJitter",
    "ForeignPhotometric",
    "GaussianBlur",
    "GeometricTransform",
    "HorizontalFlip",
    "MultiView",
    "PackedTransform",
    "PhotometricTransform",
    "RandomGrayscale",
    "RandomResizedCrop",
    "Resize",
    "Solarize",
    "ViewRandom",
    "Views",
    "apply_photometric",
    "shuffled_positions",
]
