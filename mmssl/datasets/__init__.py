from . import samplers, transforms
from .bad_files import BadFiles, TooManyBadFilesError
from .decode import UnreadableImageError, decode_image, read_image
from .image_dataset import ImageDataset
from .image_folder import ImageFolder
from .image_list import ImageList
from .samplers import CounterSampler
from .transforms import MultiView

__all__ = [
    "BadFiles",
    "CounterSampler",
    "ImageDataset",
    "ImageFolder",
    "ImageList",
    "MultiView",
    "TooManyBadFilesError",
    "UnreadableImageError",
    "decode_image",
    "read_image",
    "samplers",
    "transforms",
]
