"""DNLBlock: every position collects from all others, by pairs and by salience, learnt apart.

Disentangled Non-Local Neural Networks, 2020, arXiv 2006.06668, equation 9; compared with the block of mmseg's
`DNLHead` (goldens `dnl_*`), which is in no registry and whose tensors these are named after. It subtracts
means in place; this does not.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from mmengine.model import BaseModule
from mmengine.registry import MODELS as ROOT_MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from mmssl.models.layers.norm import norm_layer

Mode = Literal["embedded_gaussian", "dot_product"]


class _Projection(nn.Module):
    """A 1x1 convolution, with a bias or a norm behind it.

    Args:
        in_channels: Of the map.
        out_channels: Of the result.
        norm_cfg: Of the norm, or None.
    """

    def __init__(self, in_channels: int, out_channels: int, norm_cfg: dict | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=norm_cfg is None)
        self.norm_name = None
        if norm_cfg is not None:
            # the name that mmcv gives it
            self.norm_name = "gn" if norm_cfg["type"] == "GN" else "bn"
            self.add_module(self.norm_name, norm_layer(norm_cfg, out_channels, maps=True))

    @property
    def last(self) -> nn.Module:
        """The layer whose scale is that of the result."""
        return self.conv if self.norm_name is None else self.get_submodule(self.norm_name)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, out_channels, H, W)."""
        x = self.conv(x)
        return x if self.norm_name is None else self.last(x)


# in the root registry: plugins of mmdet's and mmseg's networks are looked up in their scope and there
@ROOT_MODELS.register_module()
class DNLBlock(BaseModule):
    """Disentangled non-local block; it starts as the identity.

    With means over all positions subtracted from th(x) and ph(x),

        y_i = sum_j softmax_j(th_i . ph_j / (sqrt(c) temperature)) g_j + sum_j softmax_j(mask_j) g_j
        out = x + conv_out(y)

    In mode `dot_product` the first softmax is a division of th_i . ph_j by the number of positions. The
    matrix of pairs is not kept. Biases of th, ph and the mask have no influence.

    Args:
        in_channels: C.
        reduction: C over the inner channels c.
        use_scale: Whether to divide by sqrt(c); of no effect in mode `dot_product`.
        temperature: Of the softmax over pairs.
        mode: See above.
        norm_cfg: Of the norm behind `conv_out`; None is a bias instead.
        init_cfg: Weight initialisation of the mm family.

    Raises:
        ValueError: An unknown mode.

    Example:
        >>> import torch
        >>> x = torch.rand(2, 8, 3, 4)
        >>> torch.equal(DNLBlock(8)(x), x)
        True
    """

    _abbr_ = "dnl_block"

    def __init__(
        self,
        in_channels: int,
        reduction: int = 2,
        *,
        use_scale: bool = True,
        temperature: float = 0.05,
        mode: Mode = "embedded_gaussian",
        norm_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if mode not in ("embedded_gaussian", "dot_product"):
            raise ValueError(
                f"mode must be 'embedded_gaussian' or 'dot_product', got {mode!r}; NonLocal2d has others."
            )
        inner = max(in_channels // reduction, 1)
        # the divisors are float32 there, also in a float64 network
        root = float(np.sqrt(np.float32(inner))) if use_scale else 1.0
        self.scale = 1 / (root * float(np.float32(temperature)))
        self.mode = mode
        self.g = _Projection(in_channels, inner)
        self.conv_out = _Projection(inner, in_channels, norm_cfg)
        self.theta = _Projection(in_channels, inner)
        self.phi = _Projection(in_channels, inner)
        self.conv_mask = nn.Conv2d(in_channels, 1, 1)
        self._reset()

    def init_weights(self) -> None:
        """Start as the identity, also after a network has initialised all its convolutions."""
        super().init_weights()
        self._reset()

    def _reset(self) -> None:
        for layer in (self.g.conv, self.theta.conv, self.phi.conv, self.conv_mask):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)
        last = self.conv_out.last
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        # (N, 1, positions, c), as the kernels that keep no matrix of pairs want it
        theta, phi, values = (
            layer(x).flatten(2).mT.contiguous()[:, None] for layer in (self.theta, self.phi, self.g)
        )
        theta = theta - theta.mean(2, keepdim=True)
        phi = phi - phi.mean(2, keepdim=True)
        if self.mode == "embedded_gaussian":
            pairs = F.scaled_dot_product_attention(theta, phi, values, scale=self.scale)
        else:
            # without a softmax the sums over positions can be made first
            # and divided before they grow: half precision ends at 65504
            pairs = theta @ (phi.mT @ (values / values.shape[2]))
        salience = self.conv_mask(x).flatten(2).softmax(2)[:, None]
        mixed = (pairs + salience.to(values.dtype) @ values)[:, 0]
        return x + self.conv_out(mixed.mT.unflatten(2, x.shape[2:]))
