from .attention_stack import AttentionStack
from .avg_pool import AvgPool
from .mlp_neck import MLPNeck

__all__ = ["AttentionStack", "AvgPool", "MLPNeck"]
