"""PixelPropagation: the pixel propagation module, which takes the predictor's place in PixPro.

Propagate Yourself, 2021, arXiv 2011.10043, section 3.2; compared with the official code (goldens
`pixpro_ppm_*`). Deviation from the paper, as in the code: values are of unit length too.
"""

from __future__ import annotations

from mmengine.model import BaseModule
from torch import Tensor

from mmssl.losses import unit_norm
from mmssl.models.layers import ConvMLP
from mmssl.ops.propagation import MAX_PAIRS, propagate
from mmssl.registry import MODELS


@MODELS.register_module()
class PixelPropagation(BaseModule):
    """Smooth a map: every cell becomes the sum of the transformed features of all cells, by similarity.

        y_i = sum_j max(cos(x_i, x_j), clamp)^gamma g(x_j) / |g(x_j)|

    Under autocast g alone is in half precision.

    Args:
        channels: Of the map.
        num_layers: Convolutions of g: 0 is the identity, 1 a conv1x1, 2 conv1x1 - norm - ReLU - conv1x1.
        gamma: Exponent, 2 in the paper.
        clamp: Smallest similarity, 0 in the paper; -1 lets all through.
        normalize_value: Give every g(x_j) length 1, as the released code; the paper does not say so.
        norm_cfg: Norm of g with 2 layers; default BatchNorm over the cells of this process, as in the
            released code, whose g is left out when the rest is synchronised. `dict(type='SyncBN')`
            synchronises it too.
        eps: Smallest length that is divided by.
        max_pairs: Pairs of cells that are looked at together, see `propagate`.
        init_cfg: Weight initialisation of the mm family.

    Raises:
        ValueError: Another number of layers, or a fractional `gamma` of similarities below 0.

    Example:
        >>> import torch
        >>> PixelPropagation(4, num_layers=0)(torch.ones(1, 4, 2, 2))[0, 0]  # 4 equal cells, each 1/2
        tensor([[2., 2.],
                [2., 2.]])
    """

    def __init__(
        self,
        channels: int = 256,
        *,
        num_layers: int = 1,
        gamma: float = 2.0,
        clamp: float = 0.0,
        normalize_value: bool = True,
        norm_cfg: dict | None = None,
        eps: float = 1e-12,
        max_pairs: int = MAX_PAIRS,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if num_layers not in (0, 1, 2):
            raise ValueError(f"PixelPropagation.num_layers must be 0, 1 or 2, got {num_layers}.")
        if clamp < 0 and gamma != int(gamma):
            raise ValueError(
                f"PixelPropagation with clamp={clamp} lets negative similarities through, which have no "
                f"power {gamma}; use clamp >= 0 or a whole gamma."
            )
        self.gamma = gamma
        self.clamp = clamp
        self.normalize_value = normalize_value
        self.eps = eps
        self.max_pairs = max_pairs
        self.value_transform: ConvMLP | None = None
        if num_layers:
            self.value_transform = ConvMLP(
                channels,
                channels,
                channels,
                num_layers=num_layers,
                norm_cfg=norm_cfg or dict(type="BN"),
            )

    def forward(self, feats: Tensor) -> Tensor:
        """Propagate a map.

        Args:
            feats: (N, C, H, W) projections of the cells, of any length.

        Returns:
            (N, C, H, W) sums, not normalised; float32 at least.
        """
        unit = unit_norm(feats.flatten(2), eps=self.eps)
        if self.value_transform is not None:
            values = self.value_transform(feats).flatten(2)
            values = unit_norm(values, eps=self.eps) if self.normalize_value else values
        else:
            values = unit if self.normalize_value else feats.flatten(2)
        smooth = propagate(
            unit, values, gamma=self.gamma, clamp=self.clamp, max_pairs=self.max_pairs
        )
        return smooth.unflatten(2, feats.shape[2:])
