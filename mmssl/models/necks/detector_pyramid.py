"""DetectorPyramid: the feature pyramid, and towers, of a detector as a part of pretraining.

A pixel-level task keeps the maps, so a detector's own neck and dense head can be pretrained with the trunk
and handed over with it: Propagate yourself, 2021, arXiv 2011.10043, on aligning pretraining with downstream
networks. No code of that is published; levels and averaging are ours. FPN: 2016, arXiv 1612.03144, mmdet's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmssl.registry import MODELS, build_module

from .dense_towers import DenseTowers, require_detection

LAST_INPUT = 5
"""The number of the last of the trunk's maps, C5, by which a detector counts its levels."""
DEFAULT_LEVELS = (3, 4, 5, 6)


class _Absent(nn.Module):
    """Stands for a convolution that no chosen level needs: no weights, next to no work."""

    def forward(self, x: Tensor) -> Tensor:
        """One number (B, 1, 1, 1) of `x`: the FPN goes on, and nobody looks at the result.

        Not a whole map: the FPN resizes the next coarser map to the size of this one and adds it.
        """
        return x[:, :1, :1, :1]


def _needed(neck: Any, chosen: Sequence[int]) -> tuple[set[int], set[int]]:
    """Numbers of the lateral and of the output convolutions on which the `chosen` outputs depend."""
    own = len(neck.lateral_convs)
    extras = [i for i in chosen if i >= own]
    laterals = set(range(min(chosen), own))  # from the top down to the finest
    outputs = {i for i in chosen if i < own}
    if extras and neck.add_extra_convs:
        outputs |= set(range(own, extras[-1] + 1))  # each on the one before
    if extras and neck.add_extra_convs in (False, "on_output"):
        outputs.add(own - 1)
    return laterals, outputs


def _leave_out(convs: nn.ModuleList, needed: set[int]) -> None:
    for i in set(range(len(convs))) - needed:
        convs[i] = _Absent()


@MODELS.register_module()
class DetectorPyramid(BaseModule):
    """mmdet's FPN and, behind it, the towers of a dense head: the trunk's maps -> maps of levels.

    `out_channels` lists the channels of the maps, `levels` the numbers of the levels, `indices` their places
    among the FPN's outputs, `left_out` the names of the whole FPN's state dict without weights here.

    Give the FPN the settings that it has in the detector. Levels of the detector that take no part here (P2
    costs 3136^2 pairs of cells per image of 224 px, P7 has four cells) have no weights here either; the
    detector starts those from its own initialisation. Everything else moves there unrenamed, by the
    children `neck` and `bbox_head`.

    Args:
        neck: Config of mmdet's `FPN` (`type="mmdet.FPN"`) as in the detector, or a built one.
        levels: Which maps take part, ascending: 3 is P3, of stride 8 where the trunk's last map has stride
            32; default P3 to P6, as far as the neck has them.
        towers: Config of `DenseTowers` (without `type` and `in_channels`), or a built one; the maps are
            then those behind the towers. `None`: the maps of the FPN.
        init_cfg: Weight initialisation of the mm family.

    Raises:
        ImportError: mmdet is not installed.
        ValueError: Not an FPN, or levels that it does not have.

    Example:
        >>> import torch
        >>> fpn = dict(type="mmdet.FPN", in_channels=[4, 8, 16, 32], out_channels=8, num_outs=5)
        >>> maps = DetectorPyramid(fpn)([torch.zeros(1, 4 * 2**i, 32 >> i, 32 >> i) for i in range(4)])
        >>> [tuple(m.shape[1:]) for m in maps]
        [(8, 16, 16), (8, 8, 8), (8, 4, 4), (8, 2, 2)]
    """

    neck: Any  # of mmdet, which has no types
    bbox_head: DenseTowers | None
    out_channels: list[int]

    def __init__(
        self,
        neck: nn.Module | dict,
        *,
        levels: Sequence[int] | None = None,
        towers: DenseTowers | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        require_detection("DetectorPyramid")
        from mmdet.models.necks import FPN

        self.neck = build_module(MODELS, neck)
        if not isinstance(self.neck, FPN):
            raise ValueError(
                f"DetectorPyramid needs the FPN of mmdet (type='mmdet.FPN'), got {type(self.neck).__name__}."
            )
        first = LAST_INPUT + 1 - self.neck.num_ins + self.neck.start_level
        has = range(first, first + self.neck.num_outs)
        self.levels = tuple(level for level in DEFAULT_LEVELS if level in has)
        if levels is not None:
            self.levels = tuple(levels)
        chosen = [level - first for level in self.levels]
        unknown = [level for level in self.levels if level not in has]
        own = len(self.neck.lateral_convs)
        if unknown or chosen != sorted(set(chosen)) or not chosen or chosen[0] >= own:
            raise ValueError(
                f"levels must be ascending numbers from {has[0]} to {has[-1]} (this FPN has P{has[0]} to "
                f"P{has[-1]}), the first not above {has[own - 1]}, got {self.levels}."
            )
        self.indices = tuple(chosen)
        whole = list(self.neck.state_dict())
        laterals, outputs = _needed(self.neck, self.indices)
        _leave_out(self.neck.lateral_convs, laterals)
        _leave_out(self.neck.fpn_convs, outputs)
        mine = set(self.neck.state_dict())
        self.left_out = tuple(name for name in whole if name not in mine)

        sizes = dict(in_channels=self.neck.out_channels, feat_channels=self.neck.out_channels)
        self.bbox_head = build_module(MODELS, towers, type="DenseTowers", **sizes)
        self.out_channels = [self.neck.out_channels] * len(chosen)
        if self.bbox_head is not None:
            num_maps = len(chosen) * len(self.bbox_head.branches)
            self.out_channels = [self.bbox_head.feat_channels] * num_maps

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Maps of the chosen levels.

        Args:
            maps: The trunk's, one (B, C, H, W) for each input of the FPN, ascending strides.

        Returns:
            (B, C, H, W) for each level; with towers, those of the first tower, then those of the second.

        Raises:
            ValueError: Another number of maps, or other channels.
        """
        channels = [x.shape[1] for x in maps]
        if channels != list(self.neck.in_channels):
            raise ValueError(
                f"The FPN reads maps of {list(self.neck.in_channels)} channels, the backbone returns "
                f"{channels}: make neck.in_channels and the backbone's out_indices agree."
            )
        outs = self.neck(tuple(maps))
        outs = tuple(outs[i] for i in self.indices)
        return outs if self.bbox_head is None else self.bbox_head(outs)

    def strides(self, trunk: Sequence[int]) -> list[int]:
        """Pixels per cell of each level of `levels`.

        Args:
            trunk: The same of the trunk's maps, one for each input of the FPN.
        """
        own = list(trunk[self.neck.start_level : self.neck.backbone_end_level])
        extras = [own[-1] << i for i in range(1, self.neck.num_outs - len(own) + 1)]
        return [(own + extras)[i] for i in self.indices]
