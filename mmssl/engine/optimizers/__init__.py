from .optim_wrapper import BFloat16OptimWrapper, Float16OptimWrapper, OptimWrapper

__all__ = ["BFloat16OptimWrapper", "Float16OptimWrapper", "OptimWrapper"]
