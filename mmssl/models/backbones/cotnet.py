"""CoTNet, CoTNeXt and SE-CoTNetD returning the feature maps of their stages.

"Contextual Transformer Networks for Visual Recognition" (Li et al. 2021, arXiv 2107.12292). Compared with the
authors' code (JDAI-CV/CoTNet); names and order of the tensors are theirs, without `fc`. Further than there:
`strides`, `dilations` and `dilate_mixer`, the fusions of the ablation, and mixers that a config composes.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

from timm.models import FeatureInfo
from torch import Tensor, nn

from mmssl.models.layers import norm_layer
from mmssl.models.layers.cot_layer import Fusion
from mmssl.registry import MODELS

from .cot_bottleneck import EXPANSION, CoTBottleneck, Mixer
from .cotnet_archs import CoTNetArch, cotnet_arch
from .frozen_parts import check_frozen_stages
from .residual_backbone import ResidualBackbone
from .stage_arguments import check_stages


def _stem(arch: CoTNetArch, in_channels: int, norm_cfg: dict) -> nn.Module:
    """What stands before `bn1`."""
    channels = arch.stem_channels
    if arch.stem == "conv7":
        return nn.Conv2d(in_channels, channels, 7, 2, 3, bias=False)
    half = channels // 2
    return nn.Sequential(
        nn.Conv2d(in_channels, half, 3, 2, 1, bias=False),
        norm_layer(norm_cfg, half, maps=True),
        nn.ReLU(inplace=True),
        nn.Conv2d(half, half, 3, 1, 1, bias=False),
        norm_layer(norm_cfg, half, maps=True),
        nn.ReLU(inplace=True),
        nn.Conv2d(half, channels, 3, 1, 1, bias=False),
    )


def _within(strides: Sequence[int], stem: int, output_stride: int) -> tuple[list[int], list[int]]:
    """Strides and dilations of the stages of a network whose maps have at most `output_stride`."""
    total, dilation = stem, 1
    kept, dilations = [], []
    for stride in strides:
        if total * stride > output_stride:
            dilation *= stride
            stride = 1
        total *= stride
        kept.append(stride)
        dilations.append(dilation)
    return kept, dilations


@MODELS.register_module()
class CoTNet(ResidualBackbone):
    """The CoTNet family as a tuple of feature maps.

    | `arch`                    | network                          | million parameters, with 1000 classes |
    |---------------------------|----------------------------------|---------------------------------------|
    | `50`, `101`               | CoTNet                           | 22.22, 38.27                          |
    | `x50`, `x101`             | CoTNeXt (2x48d)                  | 30.05, 53.35                          |
    | `d50`, `d101`, `d152`     | SE-CoTNetD                       | 23.11, 40.91, 55.78                   |
    | `d200`, `d270`            | SE-CoTNetD, never published      | 60.40, 83.38                          |
    | `dict(depths=..., ...)`   | see `CoTNetArch`                 |                                       |

    Convolutions start from He's normal distribution (fan-out), BatchNorms from 1 and 0, the last of a block
    from 0; biases and GroupNorms are as torch has them. Stages after the last of `out_indices` are not built:
    no parameter is without gradient.

    In training the fusion and SE-conv normalise one vector per image (`check_pooled_norm`): with one or two
    images per process use SyncBN or `norm_eval`.

    Args:
        arch: See above.
        in_channels: Of the images.
        out_indices: Stages (0-3, ascending) whose maps are returned.
        frozen_stages: Stem and stages 1..n are in eval mode without gradients; 0 is the stem alone, -1
            nothing.
        norm_cfg: Of all norms but those of the windows: `dict(type='BN' | 'SyncBN', requires_grad=..., ...)`.
        norm_eval: Keep every BatchNorm in eval mode while training, those of the fusions too.
        drop_path_rate: Of the last block; it grows linearly from 0.
        output_stride: Largest stride of a map; later stages have stride 1 and the dilations that would
            replace it. `None` changes nothing.
        strides: Of each stage's first block, 1 or 2, instead of the arch's. They come behind the stem's: 4 of
            `conv7`, 2 of `deep`.
        dilations: Of each stage.
        dilate_mixer: Dilate every mixer of a dilated stage, key convolution and aggregation too. Without it,
            as in the authors' code, the receptive field of CoT layers and windows shrinks, and convolutions
            (`se`, `conv`) have the dilation of the block before them.
        with_cp: Compute the activations of blocks again in the backward pass instead of keeping them.
        zero_init_residual: Start the last norm weight of every block at 0.
        fusion: Of the CoT layers: `se` (published), `sum`, `dynamic` or `static`.
        mixer: One mixer for all blocks (see `CoTBottleneck`) instead of the arch's.
        init_cfg: Weight initialisation of the mm family.

    Attributes:
        out_channels: Channels of the returned maps.
        strides: Pixels per position of the returned maps.
        feature_info: The same as timm's feature extractors say it.

    Raises:
        ValueError: An argument outside its choices, or arguments that contradict each other.

    Example:
        >>> import torch
        >>> maps = CoTNet("50", out_indices=(0, 3)).eval()(torch.zeros(1, 3, 64, 64))
        >>> [tuple(m.shape[1:]) for m in maps]
        [(256, 16, 16), (2048, 2, 2)]
    """

    out_channels: list[int]
    strides: list[int]

    def __init__(
        self,
        arch: str | int | Mapping[str, Any] = "50",
        in_channels: int = 3,
        *,
        out_indices: Sequence[int] = (3,),
        frozen_stages: int = -1,
        norm_cfg: dict | None = None,
        norm_eval: bool = False,
        drop_path_rate: float = 0.0,
        output_stride: int | None = None,
        strides: Sequence[int] | None = None,
        dilations: Sequence[int] | None = None,
        dilate_mixer: bool = False,
        with_cp: bool = False,
        zero_init_residual: bool = True,
        fusion: Fusion = "se",
        mixer: Mixer | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.arch = cotnet_arch(arch)
        if mixer is not None:
            self.arch = replace(self.arch, mixers=mixer)
        norm_cfg = norm_cfg or dict(type="BN")
        stem_stride = 4 if self.arch.stem == "conv7" else 2
        strides, dilations = _steps(self.arch, stem_stride, output_stride, strides, dilations)
        check_stages(
            dict(depths=self.arch.depths, strides=strides, dilations=dilations), out_indices
        )
        _check_options(drop_path_rate, fusion, strides)
        _warn_of_idle(self.arch, output_stride, dilations, dilate_mixer=dilate_mixer, fusion=fusion)
        self.out_indices = tuple(out_indices)
        check_frozen_stages(frozen_stages, self.out_indices)
        self.norm_cfg = norm_cfg
        self.norm_eval = norm_eval
        self.frozen_stages = frozen_stages
        self.output_stride = output_stride

        self.conv1 = _stem(self.arch, in_channels, norm_cfg)
        self.bn1 = norm_layer(norm_cfg, self.arch.stem_channels, maps=True)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if self.arch.stem == "conv7" else nn.Identity()
        self._add_stages(
            strides,
            dilations,
            dilate_mixer=dilate_mixer,
            stem_stride=stem_stride,
            drop_path_rate=drop_path_rate,
            fusion=fusion,
            with_cp=with_cp,
        )
        self._initialise(zero_init_residual)
        self.freeze()

    def _add_stages(
        self,
        strides: Sequence[int],
        dilations: Sequence[int],
        *,
        dilate_mixer: bool,
        stem_stride: int,
        drop_path_rate: float,
        fusion: Fusion,
        with_cp: bool,
    ) -> None:
        """`layer1`, ..., and what tells of their maps."""
        per_stage: list[dict[str, Any]] = []
        self._last_blur = 0  # stride of the map that the last blur subsamples
        total = stem_stride
        for stage in range(self.out_indices[-1] + 1):
            name = f"layer{stage + 1}"
            blocks = self._blocks(
                stage,
                stride=strides[stage],
                dilation=dilations[stage],
                before=None if dilate_mixer else dilations[max(stage - 1, 0)],
                drop_path_rate=drop_path_rate,
                fusion=fusion,
                with_cp=with_cp,
            )
            self.add_module(name, blocks)
            if self.arch.blur and strides[stage] > 1:
                self._last_blur = total
            channels, total = EXPANSION * self.arch.planes[stage], total * strides[stage]
            per_stage.append(dict(num_chs=channels, reduction=total, module=name, index=stage))
        self.feature_info = FeatureInfo(per_stage, self.out_indices)
        self.out_channels = self.feature_info.channels()
        self.strides = self.feature_info.reduction()

    def _blocks(
        self,
        stage: int,
        *,
        stride: int,
        dilation: int,
        before: int | None,
        drop_path_rate: float,
        fusion: Fusion,
        with_cp: bool,
    ) -> nn.Sequential:
        """Of a stage; `before` is the dilation of the stage before it, None to dilate every mixer."""
        arch = self.arch
        number, last = sum(arch.depths[:stage]), max(sum(arch.depths) - 1, 1)
        planes = arch.planes[stage]
        in_channels = EXPANSION * arch.planes[stage - 1] if stage else arch.stem_channels
        # by the undilated network, whose tensors a dilated one has
        shortcut = in_channels != EXPANSION * planes or max(stride, arch.strides[stage]) > 1
        blocks = []
        for block, mixer in enumerate(arch.stage_mixers(stage)):
            first = block == 0
            own = dilation
            if before is not None:
                own = (before if first else dilation) if mixer in ("se", "conv") else 1
            blocks.append(
                CoTBottleneck(
                    in_channels,
                    planes,
                    arch.width(stage),
                    mixer=mixer,
                    stride=stride if first else 1,
                    dilation=own,
                    has_shortcut=first and shortcut,
                    avg_down=arch.avg_down,
                    dilated=dilation > 1 and stride < arch.strides[stage],
                    blur=arch.blur,
                    fusion=fusion,
                    key_kernel_size=arch.key_kernel_size,
                    drop_path=drop_path_rate * (number + block) / last,
                    norm_cfg=self.norm_cfg,
                    with_cp=with_cp,
                )
            )
            in_channels = EXPANSION * planes
        return nn.Sequential(*blocks)

    def _initialise(self, zero_init_residual: bool) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif zero_init_residual and isinstance(module, CoTBottleneck):
                nn.init.zeros_(module.bn3.weight)

    def _check_size(self, height: int, width: int) -> None:
        """Raise where a blur, which mirrors the border, would stand on a map of one row or column."""
        if min(height, width) <= self._last_blur:
            raise ValueError(
                f"CoTNet with blur (SE-CoTNetD-152 and larger) takes images of more than "
                f"{self._last_blur} pixels in height and width, for its last blur needs two positions each "
                f"way; got {height} x {width}."
            )

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Feature maps.

        Args:
            images: (B, in_channels, H, W) normalised images; any H and W, but of a network with blur
                larger than half its largest stride, for a blur mirrors the border.

        Returns:
            One map (B, C, H / stride, W / stride), rounded up, for each of `out_indices`.

        Raises:
            ValueError: One image in training (see `check_pooled_norm`), or images too small for a blur.
        """
        if self._last_blur:
            self._check_size(*images.shape[-2:])
        return super().forward(images)


def _check_options(drop_path_rate: float, fusion: str, strides: Sequence[int]) -> None:
    wrong = [stride for stride in strides if stride not in (1, 2)]
    if wrong:
        raise ValueError(f"strides must be 1 or 2, got {wrong[0]!r}.")
    if not 0 <= drop_path_rate < 1:
        raise ValueError(f"drop_path_rate must be at least 0 and below 1, got {drop_path_rate!r}.")
    if fusion not in get_args(Fusion):
        raise ValueError(f"fusion must be one of {', '.join(get_args(Fusion))}, got {fusion!r}.")


def _steps(
    arch: CoTNetArch,
    stem_stride: int,
    output_stride: int | None,
    strides: Sequence[int] | None,
    dilations: Sequence[int] | None,
) -> tuple[Sequence[int], Sequence[int]]:
    """Stride and dilation of each stage."""
    if output_stride is not None:
        if strides is not None or dilations is not None:
            raise ValueError("Give output_stride, or strides and dilations, not both.")
        full = stem_stride
        possible = [full := full * stride for stride in arch.strides]
        if output_stride not in possible:
            raise ValueError(
                f"output_stride must be None or one of {possible}, the strides of the stages, got "
                f"{output_stride!r}."
            )
        return _within(arch.strides, stem_stride, output_stride)
    strides = arch.strides if strides is None else strides
    return strides, (1,) * len(arch.depths) if dilations is None else dilations


def _warn_of_idle(
    arch: CoTNetArch,
    output_stride: int | None,
    dilations: Sequence[int],
    *,
    dilate_mixer: bool,
    fusion: Fusion,
) -> None:
    """Options that change nothing in this combination."""
    idle = []
    stages = [{*arch.stage_mixers(stage)} for stage in range(len(arch.depths))]
    mixers = set().union(*stages)
    if output_stride is None and not dilate_mixer and not arch.avg_down:
        still = [i for i, d in enumerate(dilations) if d > 1 and not stages[i] & {"se", "conv"}]
        if still:
            idle.append(
                f"dilations={tuple(dilations)} have no effect without dilate_mixer=True in stages {still}"
            )
    if dilate_mixer and set(dilations) == {1}:
        idle.append("dilate_mixer=True has no effect where no stage is dilated")
    if fusion != "se" and not mixers & {"cot", "coxt"}:
        idle.append(f"fusion={fusion!r} has no effect without a CoT layer")
    for sentence in idle:
        warnings.warn(f"CoTNet: {sentence}.", stacklevel=3)
