from .attention_block import AttentionBlock
from .bottleneck_attention import BottleneckAttention
from .mlp import MLP
from .norm import norm_layer
from .position_encoding import (
    AbsolutePosition,
    PositionTables,
    RelativePosition,
    SinCosPosition,
    position_encoding,
)
from .weight_norm_linear import WeightNormLinear
from .window_attention import WindowAttention

__all__ = [
    "MLP",
    "AbsolutePosition",
    "AttentionBlock",
    "BottleneckAttention",
    "PositionTables",
    "RelativePosition",
    "SinCosPosition",
    "WeightNormLinear",
    "WindowAttention",
    "norm_layer",
    "position_encoding",
]
