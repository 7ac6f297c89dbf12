"""ConvMLP: an MLP on every cell of a map, as 1x1 convolutions."""

from __future__ import annotations

from mmengine.model import BaseModule
from torch import Tensor, nn

from .norm import norm_layer


class ConvMLP(BaseModule):
    """Hidden layers conv1x1 - norm - ReLU and a last conv1x1, all with bias, on maps.

    Convolutions keep PyTorch's default initialisation, as in the official code of PixPro.

    Args:
        in_channels: Channels of the input map.
        hid_channels: Channels of the hidden layers.
        out_channels: Channels of the output map.
        num_layers: Number of convolutions.
        norm_cfg: Norm behind each hidden convolution; `None` for none.
        last_norm_cfg: Norm behind the last convolution; `None` for none. Without an affine part it takes away
            what all cells have in common, which is most of a projection in the first steps of a run.
        init_cfg: Weight initialisation of the mm family.

    Raises:
        ValueError: Fewer than one layer.
    """

    def __init__(
        self,
        in_channels: int,
        hid_channels: int = 4096,
        out_channels: int = 256,
        *,
        num_layers: int = 2,
        norm_cfg: dict | None = None,
        last_norm_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if num_layers < 1:
            raise ValueError(f"A ConvMLP needs num_layers >= 1, got {num_layers}.")
        self.in_channels = in_channels
        self.out_channels = out_channels
        layers: list[nn.Module] = []
        channels = in_channels
        for _ in range(num_layers - 1):
            layers.append(nn.Conv2d(channels, hid_channels, 1))
            if norm_cfg is not None:
                layers.append(norm_layer(norm_cfg, hid_channels, maps=True))
            layers.append(nn.ReLU(inplace=True))
            channels = hid_channels
        layers.append(nn.Conv2d(channels, out_channels, 1))
        if last_norm_cfg is not None:
            layers.append(norm_layer(last_norm_cfg, out_channels, maps=True))
        self.layers = nn.Sequential(*layers)

    def forward(self, feats: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H, W)."""
        return self.layers(feats)
