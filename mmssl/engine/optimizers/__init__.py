from .clip import clip_per_tensor
from .lars import LARS
from .optim_wrapper import BFloat16OptimWrapper, Float16OptimWrapper, OptimWrapper
from .param_groups import ParamGroupConstructor

__all__ = [
    "LARS",
    "BFloat16OptimWrapper",
    "Float16OptimWrapper",
    "OptimWrapper",
    "ParamGroupConstructor",
    "clip_per_tensor",
]
