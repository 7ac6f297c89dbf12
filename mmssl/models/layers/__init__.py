from .attention_block import AttentionBlock
from .batch_mix import BatchMix
from .bottleneck_attention import BottleneckAttention
from .chunk_attention import ChunkAttention
from .conv_mlp import ConvMLP
from .conv_window_attention import ConvWindowAttention
from .cot_layer import CoTLayer
from .coxt_layer import CoXtLayer
from .feed_forward import FeedForward
from .grid_attention import GridAttention
from .local_relation_layer import LocalRelation
from .mlp import MLP
from .norm import norm_layer
from .position_encoding import (
    AbsolutePosition,
    PositionTables,
    RelativePosition,
    SinCosPosition,
    position_encoding,
)
from .se_conv import SEConv
from .self_attention import SelfAttention
from .sync_norm import make_norms_local, synchronise_norms
from .weight_norm_linear import WeightNormLinear
from .window_attention import WindowAttention
from .windowed_self_attention import WindowedSelfAttention

__all__ = [
    "MLP",
    "AbsolutePosition",
    "AttentionBlock",
    "BatchMix",
    "BottleneckAttention",
    "ChunkAttention",
    "CoTLayer",
    "CoXtLayer",
    "ConvMLP",
    "ConvWindowAttention",
    "FeedForward",
    "GridAttention",
    "LocalRelation",
    "PositionTables",
    "RelativePosition",
    "SEConv",
    "SelfAttention",
    "SinCosPosition",
    "WeightNormLinear",
    "WindowAttention",
    "WindowedSelfAttention",
    "make_norms_local",
    "norm_layer",
    "position_encoding",
    "synchronise_norms",
]
