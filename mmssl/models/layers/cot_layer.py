"""CoTLayer: a window of attention that the keys' context and the input predict together.

"Contextual Transformer Networks for Visual Recognition" (Li et al. 2021, arXiv 2107.12292), section 3.2.
Compared with the authors' code (JDAI-CV/CoTNet), which defines what the paper leaves out: the norms, 4 groups
in the keys, the reduction 2, 8 channels per weight. There is no product of queries and keys, no softmax over
the window and no position code.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmssl.ops.local_aggregation import local_aggregation
from mmssl.registry import MODELS

from .context_fusion import ContextFusion
from .norm import norm_layer

Fusion = Literal["se", "sum", "dynamic", "static"]


@MODELS.register_module()
class CoTLayer(BaseModule):
    """Static context of the keys, dynamic context of the values, and their fusion; the map keeps its size.

    | `fusion`   | result                        | without                          |
    |------------|-------------------------------|----------------------------------|
    | `se`       | gated sum (`ContextFusion`)   |                                  |
    | `sum`      | dynamic + static              | `se`                             |
    | `dynamic`  | dynamic context alone         | `se`                             |
    | `static`   | static context alone          | `se`, `embed`, `conv1x1`, `bn`   |

    Args:
        dim: Channels of input and output.
        kernel_size: Side of the window, odd.
        key_groups: Groups of the convolution that makes the static context.
        share: Channels that share a weight; channel c has weight `c mod (dim / share)` of its group.
        reduction: Input over hidden channels of the window's prediction, counted on `dim`.
        fusion: See above.
        dilation: Steps between the positions of a window, in the keys and in the aggregation.
        inner_groups: Groups of the window's prediction, of the values and of the aggregation. With
            several, input and keys are joined channel by channel, so that a group sees both.
        norm_cfg: Of all norms but that of the window, default `dict(type='BN')`.
        gn_cfg: Further options of the window's GroupNorm, which has one group per weight (`eps`).
        init_cfg: Weight initialisation of the mm family.

    Raises:
        ValueError: Channels that the groups do not divide, an even window, or an unknown fusion.

    Example:
        >>> CoTLayer(16)(torch.zeros(2, 16, 5, 7)).shape
        torch.Size([2, 16, 5, 7])
    """

    def __init__(
        self,
        dim: int,
        kernel_size: int = 3,
        *,
        key_groups: int = 4,
        share: int = 8,
        reduction: int = 2,
        fusion: Fusion = "se",
        dilation: int = 1,
        inner_groups: int = 1,
        norm_cfg: dict | None = None,
        gn_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        _check(dim, kernel_size, key_groups, share * inner_groups, reduction * inner_groups, fusion)
        norm_cfg = norm_cfg or dict(type="BN")
        self.kernel_size = kernel_size
        self.fusion = fusion
        self.dilation = dilation
        self.padding = dilation * (kernel_size - 1) // 2
        self.inner_groups = inner_groups
        self.num_weights = dim // share
        self.key_embed = nn.Sequential(
            nn.Conv2d(
                dim, dim, kernel_size, 1, self.padding, dilation, groups=key_groups, bias=False
            ),
            norm_layer(norm_cfg, dim, maps=True),
            nn.ReLU(inplace=True),
        )
        if fusion == "static":
            return
        hidden, window = dim // reduction, kernel_size**2 * self.num_weights
        window_norm = dict(type="GN", num_groups=self.num_weights) | (gn_cfg or {})
        self.embed = nn.Sequential(
            nn.Conv2d(2 * dim, hidden, 1, groups=inner_groups, bias=False),
            norm_layer(norm_cfg, hidden, maps=True),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, window, 1, groups=inner_groups),
            norm_layer(window_norm, window, maps=True),
        )
        self.conv1x1 = nn.Sequential(
            nn.Conv2d(dim, dim, 1, groups=inner_groups, bias=False),
            norm_layer(norm_cfg, dim, maps=True),
        )
        self.bn = norm_layer(norm_cfg, dim, maps=True)
        self.act = nn.SiLU(inplace=True)
        if fusion == "se":
            self.se = ContextFusion(dim, norm_cfg=norm_cfg)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H, W).

        Raises:
            ValueError: One image in training with the fusion `se` (see `check_pooled_norm`).
        """
        static = self.key_embed(x)
        if self.fusion == "static":
            return static
        dynamic = self.act(self.bn(self._aggregated(x, static)))
        if self.fusion == "dynamic":
            return dynamic
        return self.se(dynamic, static) if self.fusion == "se" else dynamic + static

    def _aggregated(self, x: Tensor, keys: Tensor) -> Tensor:
        """The values (N, C, H, W) under the windows that input and keys predict."""
        if self.inner_groups == 1:
            joined = torch.cat([x, keys], dim=1)
        else:
            joined = torch.stack([x, keys], dim=2).flatten(1, 2)
        window = self.embed(joined).unflatten(1, (1, self.num_weights, self.kernel_size**2))
        return local_aggregation(
            self.conv1x1(x),
            window,
            self.kernel_size,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.inner_groups,
        )


def _check(
    dim: int, kernel_size: int, key_groups: int, shared: int, reduced: int, fusion: str
) -> None:
    for divisor, what in (
        (key_groups, "key_groups"),
        (shared, "share times inner_groups"),
        (reduced, "reduction times inner_groups"),
    ):
        if divisor < 1 or dim % divisor:
            raise ValueError(
                f"A CoT layer of {dim} channels needs {what} to divide them, got {divisor}."
            )
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(
            f"kernel_size must be odd, so that the map keeps its size, got {kernel_size}."
        )
    if fusion not in get_args(Fusion):
        raise ValueError(f"fusion must be one of {', '.join(get_args(Fusion))}, got {fusion!r}.")
