"""ContextFusion: a gate per image and channel between the dynamic and the static context of CoT.

"Contextual Transformer Networks for Visual Recognition" (Li et al. 2021, arXiv 2107.12292), section 3.2; the
layers are those of the authors' code (JDAI-CV/CoTNet).
"""

from __future__ import annotations

from torch import Tensor, nn

from .norm import norm_layer
from .pooled_norm import check_pooled_norm


class ContextFusion(nn.ModuleList):
    """Y = p * dynamic + (1 - p) * static, p a softmax over the two of what their pooled sum says.

    The two logits of channel c are outputs 2c and 2c + 1 of the last layer (ResNeSt has all channels of the
    first, then those of the second). In training the norm sees one vector per image: see `check_pooled_norm`.

    Args:
        dim: Channels of both contexts.
        norm_cfg: Of the norm between the two layers.
    """

    def __init__(self, dim: int, *, norm_cfg: dict) -> None:
        hidden = max(dim * 2 // 4, 32)
        super().__init__(
            [
                nn.Conv2d(dim, hidden, 1),
                norm_layer(norm_cfg, hidden, maps=True),
                nn.ReLU(inplace=True),
                nn.Conv2d(hidden, 2 * dim, 1),
            ]
        )

    def forward(self, dynamic: Tensor, static: Tensor) -> Tensor:
        """Mixed context.

        Args:
            dynamic: (N, C, H, W) aggregated values.
            static: (N, C, H, W) context of the keys.

        Returns:
            (N, C, H, W).

        Raises:
            ValueError: One image in training (see `check_pooled_norm`).
        """
        logits = (dynamic + static).mean((2, 3), keepdim=True)
        check_pooled_norm(self[1], logits)
        for layer in self:
            logits = layer(logits)
        # autocast computes the softmax in float32; the maps keep their precision
        gate = logits.unflatten(1, (-1, 2)).softmax(dim=2)[:, :, 0].to(dynamic.dtype)
        return static.lerp(dynamic, gate)
