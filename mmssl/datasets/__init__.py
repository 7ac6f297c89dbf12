from . import samplers, transforms
from .bad_files import BadFiles, TooManyBadFilesError
from .decode import UnreadableImageError, decode_image, read_image
from .image_dataset import ImageDataset
from .image_folder import ImageFolder
from .image_list import ImageList
from .samplers import CounterSampler, SlidingWindowSampler, in_windows
from .transforms import MultiView
from .view_cache import CachedViews
from .voc_classification import VOC_CLASSES, VOCClassification

__all__ = [
    "VOC_CLASSES",
    "BadFiles",
    "CachedViews",
    "CounterSampler",
    "ImageDataset",
    "ImageFolder",
    "ImageList",
    "MultiView",
    "SlidingWindowSampler",
    "TooManyBadFilesError",
    "UnreadableImageError",
    "VOCClassification",
    "decode_image",
    "in_windows",
    "read_image",
    "samplers",
    "transforms",
]
