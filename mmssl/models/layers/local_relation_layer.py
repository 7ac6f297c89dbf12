"""LocalRelation: a layer that mixes the pixels of a window by how alike they are to its centre.

Local Relation Networks for Image Recognition, 2019, arXiv 1904.11491, section 3. The authors published the
operator alone. Our choices, where the paper leaves them open: offsets of the prior in [-1, 1], as many hidden
channels as groups in it, biases there and nowhere else, -100 as logit of pixels outside of the map, the query
at the places that a stride keeps.
"""

from __future__ import annotations

from typing import Literal

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmssl.ops.local_relation import SIMILARITIES, local_relation
from mmssl.registry import MODELS


class GeometricPrior(nn.Module):
    """Logits of the taps of a window from their offsets, by a small network.

    Args:
        groups: Groups G of the layer.
        kernel_size: Side k of the window.
    """

    offsets: Tensor

    def __init__(self, groups: int, kernel_size: int) -> None:
        super().__init__()
        side = torch.linspace(-1, 1, kernel_size) if kernel_size > 1 else torch.zeros(1)
        rows, columns = torch.meshgrid(side, side, indexing="ij")
        self.register_buffer("offsets", torch.stack([columns, rows])[None], persistent=False)
        self.hidden = nn.Conv2d(2, groups, 1)
        self.relu = nn.ReLU(inplace=True)
        self.out = nn.Conv2d(groups, groups, 1)

    def forward(self) -> Tensor:
        """(G, k, k) logits."""
        return self.out(self.relu(self.hidden(self.offsets)))[0]


class TablePrior(nn.Module):
    """Logits of the taps of a window, learnt directly; they start at 0.

    Args:
        groups: Groups G of the layer.
        kernel_size: Side k of the window.
    """

    def __init__(self, groups: int, kernel_size: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(groups, kernel_size, kernel_size))

    def forward(self) -> Tensor:
        """(G, k, k) logits."""
        return self.table


_PRIORS = {"geometry": GeometricPrior, "table": TablePrior}


@MODELS.register_module()
class LocalRelation(BaseModule):
    """Window of k x k pixels, weighted by a softmax of similarity and prior, and a 1x1 convolution.

    m channels share their weights: there are G = C / m groups, with one number per pixel for query and key,

        weights = softmax over the window of f(query(p), key(p_t)) + prior(p_t - p)

    The values are the input itself, zero outside of the map.

    Args:
        in_channels: C.
        out_channels: Channels of the result, default C.
        kernel_size: Side k of the window, odd.
        share: m, a divisor of C.
        stride: Step between windows.
        dilation: Step between the pixels of a window.
        similarity: f, one of `mmssl.ops.local_relation.SIMILARITIES`.
        prior: `geometry` (a network of the offsets, as in the paper) or `table` (a number for each).
        init_cfg: Weight initialisation of the mm family.

    Raises:
        ValueError: `share` does not divide the channels, an even window, or an unknown similarity or prior.

    Example:
        >>> LocalRelation(16, stride=2)(torch.zeros(2, 16, 5, 7)).shape
        torch.Size([2, 16, 3, 4])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int | None = None,
        *,
        kernel_size: int = 7,
        share: int = 8,
        stride: int = 1,
        dilation: int = 1,
        similarity: str = "neg_squared",
        prior: Literal["geometry", "table"] = "geometry",
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if share < 1 or in_channels % share:
            raise ValueError(
                f"share={share} must divide the {in_channels} channels: they share weights in blocks."
            )
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(
                f"kernel_size must be odd, for a window around a pixel; got {kernel_size}."
            )
        if similarity not in SIMILARITIES:
            raise ValueError(f"similarity must be one of {list(SIMILARITIES)}, got {similarity!r}.")
        if prior not in _PRIORS:
            raise ValueError(f"prior must be one of {list(_PRIORS)}, got {prior!r}.")
        self.groups = in_channels // share
        self.kernel_size = kernel_size
        self.stride = stride
        self.dilation = dilation
        self.similarity = similarity
        self.query = nn.Conv2d(in_channels, self.groups, 1, stride, bias=False)
        self.key = nn.Conv2d(in_channels, self.groups, 1, bias=False)
        self.prior = _PRIORS[prior](self.groups, kernel_size)
        self.out = nn.Conv2d(in_channels, out_channels or in_channels, 1, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start queries and keys with the scale of the input, so that no weight of a window is 1 or 0."""
        for layer in (self.query, self.key):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="linear")

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, out_channels, ceil(H / stride), ceil(W / stride))."""
        mixed = local_relation(
            self.query(x),
            self.key(x),
            x,
            self.prior(),
            self.kernel_size,
            self.groups,
            self.stride,
            self.dilation,
            similarity=self.similarity,
        )
        return self.out(mixed)
