"""ResNet v1.5 returning the feature maps of its stages.

Deep Residual Learning for Image Recognition, 2015, arXiv 1512.03385; stride in the 3x3 convolution
("v1.5"). Built from torchvision's blocks, so that parameter names and shapes equal
`torchvision.models.resnet*` (and mmdet's and mmseg's `ResNet(style='pytorch')`) without `fc`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

from torch import nn
from torchvision.models import resnet as blocks

from mmssl.models.layers import norm_layer
from mmssl.models.layers.same_padding import pad_same
from mmssl.registry import MODELS

from .frozen_parts import check_frozen_stages
from .plugin_blocks import PLUGIN_BLOCKS, PluginStage, stage_plugins
from .residual_backbone import ResidualBackbone

_DEPTHS: dict[int, tuple[type[blocks.BasicBlock | blocks.Bottleneck], list[int]]] = {
    18: (blocks.BasicBlock, [2, 2, 2, 2]),
    34: (blocks.BasicBlock, [3, 4, 6, 3]),
    50: (blocks.Bottleneck, [3, 4, 6, 3]),
    101: (blocks.Bottleneck, [3, 4, 23, 3]),
    152: (blocks.Bottleneck, [3, 8, 36, 3]),
}
_STEM_STRIDES = {"imagenet": 4, "cifar": 1}


def _dilate(stage: nn.Module, dilation: int) -> None:
    """Replace the stride of a stage by dilation; `dilation` is that behind the strided convolution."""
    for module in stage.modules():
        if isinstance(module, nn.Conv2d):
            # the strided convolution still reads the finer grid of the stage before
            steps = dilation // 2 if module.stride == (2, 2) else dilation
            module.stride = (1, 1)
            if module.kernel_size == (3, 3):
                module.dilation = module.padding = (steps, steps)


def _rebuild(
    network: blocks.ResNet, num_blocks: list[int], channels: int, *, zero_init_residual: bool
) -> None:
    """Stem and stages anew with other channels than torchvision's 64, initialised as its own are."""
    block = type(network.layer1[0])
    network.inplanes = channels
    network.conv1 = nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False)
    network.bn1 = network._norm_layer(channels)
    for stage, number in enumerate(num_blocks):
        planes, stride = channels * 2**stage, 1 if stage == 0 else 2
        layer = network._make_layer(block, planes, number, stride=stride)
        setattr(network, f"layer{stage + 1}", layer)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if zero_init_residual and isinstance(module, block):
            last = module.bn3 if isinstance(module, blocks.Bottleneck) else module.bn2
            nn.init.zeros_(last.weight)


@MODELS.register_module()
class ResNet(ResidualBackbone):
    """ResNet-18/34/50/101/152 and the wide variants, as a tuple of feature maps.

    Convolutions start from He's normal distribution (fan-out), norm layers from 1 and 0. Stages after
    the last of `out_indices` are not built: no parameter is without gradient.

    Args:
        depth: 18, 34, 50, 101 or 152.
        width: Factor on the inner (3x3) channels of every bottleneck; stage outputs keep their size.
            `depth=50, width=2` is torchvision's `wide_resnet50_2` and CARE's "ResNet-50 (2x)", not
            SimCLR's and SwAV's, which double all channels: `base_channels=128`.
        out_indices: Stages (0-3, ascending) whose maps are returned.
        norm_cfg: `dict(type='BN' | 'SyncBN' | 'GN', requires_grad=..., ...)`; further entries go to the
            layer (`eps`, `momentum`, `num_groups`). torch's `SyncBN` is plain `BN` on one
            process and needs GPUs on several.
        norm_eval: Keep every BatchNorm in eval mode while training.
        frozen_stages: Stem and stages 1..n are in eval mode without gradients; 0 is the stem alone, -1
            nothing.
        stem: `imagenet` (7x7 stride 2, max-pool) or `cifar` (3x3 stride 1, no pool) for small images.
        zero_init_residual: Start the last norm weight of every block at 0.
        output_stride: Largest stride of a map. Stages that would go beyond it keep the resolution and
            dilate their 3x3 convolutions instead: at every second (or fourth) place they compute what
            the strided stages compute, from the same weights. `None` dilates nothing.
        plugins: Attention blocks behind convolutions, as mmdet's and mmseg's `ResNet` has them: each
            `dict(cfg=dict(type='DNLBlock'), position='after_conv3', stages=(False, False, True, False))`.
            Basic blocks have `after_conv1` and `after_conv2`. They start as their authors say, whatever
            `init_cfg` does to all convolutions.
        base_channels: Channels of the stem; those of all stages are in proportion.
        padding: `symmetric`, or `same` as networks of TensorFlow and JAX pad where there is a stride (BYOL's
            released weights): on even sizes more at the bottom and the right. Weights of one kind lose
            accuracy in a network of the other.
        init_cfg: Weight initialisation of the mm family.

    Raises:
        ValueError: An argument outside its choices, `width` with basic blocks, plugins that have no place, or
            `padding='same'` with `output_stride` or plugins.

    Example:
        >>> import torch
        >>> maps = ResNet(depth=18)(torch.zeros(1, 3, 64, 64))
        >>> [tuple(m.shape[1:]) for m in maps]
        [(64, 16, 16), (128, 8, 8), (256, 4, 4), (512, 2, 2)]
    """

    out_channels: list[int]
    strides: list[int]

    def __init__(
        self,
        depth: int,
        width: int = 1,
        *,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        norm_cfg: dict | None = None,
        norm_eval: bool = False,
        frozen_stages: int = -1,
        stem: Literal["imagenet", "cifar"] = "imagenet",
        zero_init_residual: bool = False,
        output_stride: int | None = None,
        plugins: Sequence[Mapping[str, Any]] | None = None,
        base_channels: int = 64,
        padding: Literal["symmetric", "same"] = "symmetric",
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        norm_cfg = norm_cfg or dict(type="BN")
        if depth not in _DEPTHS:
            raise ValueError(f"ResNet depth must be one of {sorted(_DEPTHS)}, got {depth!r}.")
        block, num_blocks = _DEPTHS[depth]
        if width < 1 or (width != 1 and block is blocks.BasicBlock):
            raise ValueError(
                f"width={width} with depth={depth}: width is a factor >= 1 on the inner channels of "
                "bottlenecks, so any value but 1 needs depth 50, 101 or 152."
            )
        if base_channels < 1:
            raise ValueError(f"base_channels must be at least 1, got {base_channels}.")
        if stem not in _STEM_STRIDES:
            raise ValueError(f"stem must be one of {sorted(_STEM_STRIDES)}, got {stem!r}.")
        if padding not in ("symmetric", "same"):
            raise ValueError(f"padding must be 'symmetric' or 'same', got {padding!r}.")
        if padding == "same" and (output_stride is not None or plugins):
            raise ValueError(
                "padding='same' has neither output_stride, for a dilated network is on another grid of "
                "places, nor plugins; leave them out."
            )
        strides = [_STEM_STRIDES[stem] * 2**i for i in range(4)]
        if output_stride is not None and output_stride not in strides:
            raise ValueError(
                f"output_stride must be None or one of {strides}, the strides of the stages behind the stem "
                f"{stem!r}, got {output_stride!r}."
            )
        out_indices = tuple(out_indices)
        if not out_indices or list(out_indices) != sorted(set(out_indices) & {0, 1, 2, 3}):
            raise ValueError(
                f"out_indices must be ascending stage numbers from 0 to 3, got {out_indices}."
            )
        num_stages = out_indices[-1] + 1
        check_frozen_stages(frozen_stages, out_indices)
        self.depth = depth
        self.width = width
        self.out_indices = out_indices
        self.norm_cfg = norm_cfg
        self.norm_eval = norm_eval
        self.frozen_stages = frozen_stages
        self.stem = stem
        self.output_stride = output_stride
        self.plugins = plugins
        self.base_channels = base_channels
        self.padding = padding

        network = blocks.ResNet(
            PLUGIN_BLOCKS[block] if plugins else block,
            num_blocks,
            zero_init_residual=zero_init_residual,
            width_per_group=64 * width,
            norm_layer=partial(norm_layer, norm_cfg, maps=True),
        )
        if base_channels != 64:
            _rebuild(network, num_blocks, base_channels, zero_init_residual=zero_init_residual)
        self.conv1 = network.conv1
        if stem == "cifar":
            self.conv1 = nn.Conv2d(3, base_channels, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.bn1 = network.bn1
        self.relu = network.relu
        self.maxpool = network.maxpool if stem == "imagenet" else nn.Identity()
        for stage in range(num_stages):
            self.add_module(f"layer{stage + 1}", getattr(network, f"layer{stage + 1}"))
            if output_stride is not None and strides[stage] > output_stride:
                _dilate(self.get_submodule(f"layer{stage + 1}"), strides[stage] // output_stride)
                strides[stage] = output_stride
            if plugins:
                # after dilation, which is for the network's own convolutions
                self._add_plugins(stage, stage_plugins(plugins, stage))

        if padding == "same":
            pad_same(self)
        self.out_channels = [base_channels * 2**i * block.expansion for i in out_indices]
        self.strides = [strides[i] for i in out_indices]
        self.freeze()

    def _add_plugins(self, stage: int, plugins: Sequence[Mapping[str, Any]]) -> None:
        name = f"layer{stage + 1}"
        self.add_module(name, PluginStage(*self.get_submodule(name)))
        for block in self.get_submodule(name):
            block.add_plugins(plugins)
