"""MLP: the Linear - norm - ReLU stack behind projectors and predictors."""

from __future__ import annotations

from typing import Literal

from mmengine.model import BaseModule
from torch import Tensor, nn

from .norm import norm_layer


class MLP(BaseModule):
    """Hidden layers Linear - norm - ReLU and a last Linear, on vectors.

    Linear layers keep PyTorch's default initialisation, as in the official codes of BYOL and CARE.

    Args:
        in_channels: Size of the input vectors.
        hid_channels: Size of the hidden layers.
        out_channels: Size of the output vectors.
        num_layers: Number of Linear layers.
        bias: Whether the hidden Linear layers have a bias.
        last_bias: Whether the last Linear has a bias; `frozen` for one that is never trained.
        norm_cfg: Norm behind each hidden Linear; `None` for none.
        last_norm_cfg: Norm behind the last Linear; `None` for none.
        init_cfg: Weight initialisation of the mm family.
    """

    def __init__(
        self,
        in_channels: int,
        hid_channels: int = 4096,
        out_channels: int = 256,
        *,
        num_layers: int = 2,
        bias: bool = True,
        last_bias: bool | Literal["frozen"] = True,
        norm_cfg: dict | None = None,
        last_norm_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if last_bias not in (True, False, "frozen"):
            raise ValueError(f"last_bias must be True, False or 'frozen', got {last_bias!r}.")
        if num_layers < 1:
            raise ValueError(f"An MLP needs num_layers >= 1, got {num_layers}.")
        self.in_channels = in_channels
        self.out_channels = out_channels
        layers: list[nn.Module] = []
        channels = in_channels
        for _ in range(num_layers - 1):
            layers.append(nn.Linear(channels, hid_channels, bias=bias))
            if norm_cfg is not None:
                layers.append(norm_layer(norm_cfg, hid_channels, maps=False))
            layers.append(nn.ReLU(inplace=True))
            channels = hid_channels
        last = nn.Linear(channels, out_channels, bias=bool(last_bias))
        if last_bias == "frozen":
            last.bias.requires_grad_(False)
        layers.append(last)
        if last_norm_cfg is not None:
            layers.append(norm_layer(last_norm_cfg, out_channels, maps=False))
        self.layers = nn.Sequential(*layers)

    def forward(self, feats: Tensor) -> Tensor:
        """Map (B, in_channels) vectors to (B, out_channels).

        Raises:
            ValueError: One image in train mode, where a BatchNorm has no variance to divide by.
        """
        if len(feats) == 1 and any(
            isinstance(layer, nn.BatchNorm1d) and layer.training for layer in self.layers
        ):
            raise ValueError(
                "A projector or predictor with BatchNorm got a batch of one image in train mode, so "
                "its variance is undefined. Use at least 2 images per process (and drop_last=True), "
                "norm_cfg=dict(type='SyncBN') on several GPUs, or another norm."
            )
        return self.layers(feats)
