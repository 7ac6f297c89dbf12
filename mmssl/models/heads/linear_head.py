"""LinearHead: a linear classifier on pooled features."""

from __future__ import annotations

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmssl.models.layers.norm import norm_layer
from mmssl.registry import MODELS


@MODELS.register_module()
class LinearHead(BaseModule):
    """Linear classifier, with a norm or dropout of the features or a BatchNorm on its logits if asked for.

    | protocol                       | `input_norm_cfg`                     | `norm` |
    |--------------------------------|--------------------------------------|--------|
    | most                           | None                                 | False  |
    | VISSL's Places205              | `dict(type='BN')`                    | False  |
    | MMSelfSup's Places205          | `dict(type='SyncBN', affine=False)`  | False  |
    | CARE (arXiv 2110.05340)        | None                                 | True   |

    Weights start from N(0, 0.01), biases from 0. CoTNet (arXiv 2107.12292) has `dropout=0.25, init_std=None`.

    Args:
        in_channels: Size of the features.
        num_classes: Classes.
        norm: Put an affine BatchNorm1d on the logits.
        input_norm_cfg: Norm of the features, before the classifier; see `norm_layer`.
        dropout: Share of the features that is dropped in training.
        init_std: Of the weights; None leaves torch's initialisation of weights and biases.
        init_cfg: Weight initialisation of the mm family.

    Raises:
        ValueError: `dropout` outside [0, 1).
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        norm: bool = False,
        input_norm_cfg: dict | None = None,
        dropout: float = 0.0,
        init_std: float | None = 0.01,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {dropout}.")
        self.num_classes = num_classes
        self.input_norm: nn.Module = (
            norm_layer(input_norm_cfg, in_channels, maps=False) if input_norm_cfg else nn.Identity()
        )
        self.dropout: nn.Module = nn.Dropout(dropout) if dropout else nn.Identity()
        self.fc = nn.Linear(in_channels, num_classes)
        self.norm: nn.Module = nn.BatchNorm1d(num_classes) if norm else nn.Identity()
        if init_std is not None:
            nn.init.normal_(self.fc.weight, std=init_std)
            nn.init.zeros_(self.fc.bias)

    def forward(self, feats: Tensor) -> Tensor:
        """(B, num_classes) logits of features (B, in_channels)."""
        return self.norm(self.fc(self.dropout(self.input_norm(feats))))
