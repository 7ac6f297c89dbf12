"""ResNet's blocks with plugins behind their convolutions, under the names that mmdet and mmseg give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torchvision.models import resnet as blocks

from mmssl.models.layers.plugins import build_plugin, reset_plugin


class PluginBlock(nn.Module):
    """What the two kinds of block share: plugins by position."""

    num_convs: int

    def add_plugins(self, plugins: Sequence[Mapping[str, Any]]) -> None:
        """Build plugins as children.

        Args:
            plugins: Each with `cfg` (see `build_plugin`) and `position`, `after_conv1` up to the number of
                convolutions; they run in this order. The last position lies before the addition of
                the shortcut.

        Raises:
            ValueError: Another position, or two plugins of one name.
        """
        self.plugin_names: dict[int, list[str]] = {}
        positions = [f"after_conv{conv + 1}" for conv in range(self.num_convs)]
        for plugin in plugins:
            if plugin["position"] not in positions:
                raise ValueError(
                    f"position of a plugin must be one of {positions} in these blocks, got "
                    f"{plugin['position']!r}."
                )
            conv = positions.index(plugin["position"]) + 1
            channels = self.get_submodule(f"conv{conv}").out_channels
            name, module = build_plugin(plugin["cfg"], channels)
            if hasattr(self, name):
                raise ValueError(
                    f"Two plugins {name!r} in a block: give each a postfix in its cfg."
                )
            self.add_module(name, module)
            self.plugin_names.setdefault(conv, []).append(name)

    def init_weights(self) -> None:
        """Start the plugins as their authors do."""
        for names in self.plugin_names.values():
            for name in names:
                reset_plugin(self.get_submodule(name))

    def _plugged(self, conv: int, x: Tensor) -> Tensor:
        for name in self.plugin_names.get(conv, ()):
            x = self.get_submodule(name)(x)
        return x


class PluginBasicBlock(PluginBlock, blocks.BasicBlock):
    """Two 3x3 convolutions and plugins."""

    num_convs = 2

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the map of the block."""
        out = self._plugged(1, self.relu(self.bn1(self.conv1(x))))
        out = self._plugged(2, self.bn2(self.conv2(out)))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


class PluginBottleneck(PluginBlock, blocks.Bottleneck):
    """1x1, 3x3 and 1x1 convolutions and plugins."""

    num_convs = 3

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the map of the block."""
        out = self._plugged(1, self.relu(self.bn1(self.conv1(x))))
        out = self._plugged(2, self.relu(self.bn2(self.conv2(out))))
        out = self._plugged(3, self.bn3(self.conv3(out)))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


PLUGIN_BLOCKS = {blocks.BasicBlock: PluginBasicBlock, blocks.Bottleneck: PluginBottleneck}


class PluginStage(nn.Sequential):
    """Blocks of a stage; mmengine's initialisation, which looks at children only, reaches their plugins."""

    def init_weights(self) -> None:
        """Start all plugins as their authors do."""
        for block in self:
            block.init_weights()


def stage_plugins(
    plugins: Sequence[Mapping[str, Any]], stage: int, num_stages: int = 4
) -> list[Mapping[str, Any]]:
    """The plugins of one stage.

    Args:
        plugins: Each `dict(cfg=dict(type=...), position='after_conv3', stages=(False, False, True, False))`;
            without `stages` it is in all of them.
        stage: From 0.
        num_stages: Length of `stages`.

    Raises:
        ValueError: An entry that is missing, unknown, or of another length.

    Example:
        >>> here = dict(cfg=dict(type="DNLBlock"), position="after_conv3", stages=(0, 0, 1, 0))
        >>> len(stage_plugins([here], 2)), len(stage_plugins([here], 3))
        (1, 0)
    """
    chosen = []
    for plugin in plugins:
        wrong = set(plugin) - {"cfg", "position", "stages"}
        if wrong or not {"cfg", "position"} <= set(plugin):
            raise ValueError(
                "A plugin is dict(cfg=dict(type=...), position='after_conv3', stages=(...)), stages being "
                f"optional; got {dict(plugin)}."
            )
        stages = plugin.get("stages", (True,) * num_stages)
        if len(stages) != num_stages:
            raise ValueError(
                f"stages of a plugin must say of each of {num_stages} stages whether it is there, got "
                f"{stages}."
            )
        if stages[stage]:
            chosen.append(plugin)
    return chosen
