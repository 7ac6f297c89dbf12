"""DINOHead: projection to a bottleneck of unit length, then to the prototypes.

Emerging properties in self-supervised vision transformers, 2021, arXiv 2104.14294, section 3.1;
facebookresearch/dino and microsoft/esvit.
"""

from __future__ import annotations

from itertools import pairwise

from mmengine.model import BaseModule
from mmengine.model.weight_init import trunc_normal_
from torch import Tensor, nn
from torch.nn import functional as F

from mmssl.models.layers.norm import norm_layer
from mmssl.models.layers.weight_norm_linear import WeightNormLinear
from mmssl.registry import MODELS


@MODELS.register_module()
class DINOHead(BaseModule):
    """MLP with GELUs, rows of unit length, weight-normalised linear layer without bias.

    Args:
        in_channels: Size of the features.
        out_channels: Prototypes K.
        hid_channels: Width of the hidden layers.
        bottleneck_channels: Size of what the prototypes are compared with.
        num_layers: Linear layers of the MLP; 1 is a single one.
        use_bn: BatchNorm behind each hidden layer.
        norm_cfg: Another norm there; the authors' programs have that of all processes,
            `dict(type="SyncBN")`.
        norm_last_layer: Prototypes of length 1; else their lengths are trained.
        init_cfg: Weight initialisation of the mm family.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 65536,
        *,
        hid_channels: int = 2048,
        bottleneck_channels: int = 256,
        num_layers: int = 3,
        use_bn: bool = False,
        norm_cfg: dict | None = None,
        norm_last_layer: bool = True,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if num_layers < 1:
            raise ValueError(f"A head has at least one layer, got num_layers={num_layers}.")
        if norm_cfg is not None and not use_bn:
            raise ValueError(f"norm_cfg={norm_cfg} is the norm of use_bn=True, which is not set.")
        sizes = [in_channels, *[hid_channels] * (num_layers - 1), bottleneck_channels]
        layers: list[nn.Module] = []
        for number, (size, following) in enumerate(pairwise(sizes)):
            layers.append(nn.Linear(size, following))
            if number < num_layers - 1:
                if use_bn:
                    layers.append(norm_layer(norm_cfg or dict(type="BN1d"), following, maps=False))
                layers.append(nn.GELU())
        # A single layer has the official name, which is without a number.
        self.mlp = layers[0] if num_layers == 1 else nn.Sequential(*layers)
        self.last_layer = WeightNormLinear(
            bottleneck_channels, out_channels, learn_length=not norm_last_layer
        )
        self.out_channels = out_channels

    def init_weights(self) -> None:
        """Linear layers truncated normal of deviation 0.02, biases 0."""
        for module in self.mlp.modules():
            if isinstance(module, nn.Linear):
                trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        super().init_weights()

    @property
    def prototypes(self) -> Tensor:
        """(K, D) weight of the last layer."""
        return self.last_layer.weight

    def bottleneck(self, x: Tensor) -> Tensor:
        """(..., C) to (..., D) of unit length."""
        rows = self.mlp(x.flatten(0, -2))
        return F.normalize(rows, dim=-1).unflatten(0, x.shape[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to logits (..., K)."""
        return self.last_layer(self.bottleneck(x))
