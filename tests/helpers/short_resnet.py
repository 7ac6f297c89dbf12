"""A ResNet of four bottleneck blocks, one a stage, as some goldens have it."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck
from torchvision.models.resnet import ResNet as TorchvisionResNet


class ShortResNet(nn.Module):
    """torchvision's ResNet(Bottleneck, [1, 1, 1, 1]) without `fc`, as a backbone.

    Args:
        stem_channels: Of the stem and, times four, of the first stage.
    """

    def __init__(self, stem_channels: int = 64) -> None:
        super().__init__()
        whole = TorchvisionResNet(Bottleneck, [1, 1, 1, 1], zero_init_residual=True)
        if stem_channels != 64:
            whole = _narrow(stem_channels)
        for name, child in whole.named_children():
            if name not in ("fc", "avgpool"):
                setattr(self, name, child)
        self.out_channels = (32 * stem_channels,)
        self.strides = (32,)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        return (self.layer4(self.layer3(self.layer2(self.layer1(x)))),)


def _narrow(channels: int) -> nn.Module:
    """The same as SwAV's code has it with a width per group below 64, which narrows bottlenecks twice."""
    whole = TorchvisionResNet(Bottleneck, [1, 1, 1, 1], width_per_group=channels)
    whole.inplanes = channels
    whole.conv1 = nn.Conv2d(3, channels, 7, 2, 3, bias=False)
    whole.bn1 = nn.BatchNorm2d(channels)
    for stage in range(4):
        layer = whole._make_layer(Bottleneck, channels * 2**stage, 1, stride=1 if stage == 0 else 2)
        setattr(whole, f"layer{stage + 1}", layer)
    return whole


def short_resnet(stem_channels: int = 64) -> ShortResNet:
    """The network, with as many channels in the stem."""
    return ShortResNet(stem_channels)
