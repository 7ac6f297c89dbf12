from .cosine_cycles import CosineCyclesLR, cosine_cycle
from .warmup_cosine import WarmupCosineLR, warmup_cosine

__all__ = ["CosineCyclesLR", "WarmupCosineLR", "cosine_cycle", "warmup_cosine"]
