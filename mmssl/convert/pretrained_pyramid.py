"""The FPN and the towers of a pretraining, and the proof that mmdet's compute the same from their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from mmengine.registry import MODELS as ROOT_MODELS
from torch import Tensor, nn

from mmssl.convert.load_backbone import load_backbone
from mmssl.convert.load_report import LoadReport
from mmssl.convert.part_settings import neck_settings, tower_settings
from mmssl.models.necks import DetectorPyramid
from mmssl.registry import MODELS

Part = Literal["backbone", "neck", "bbox_head"]
PARTS: tuple[Part, ...] = ("backbone", "neck", "bbox_head")


def pyramid_parts(config: Mapping[str, Any]) -> tuple[Part, ...]:
    """Which parts of a detector, beside the backbone, a run has pretrained.

    Args:
        config: The config of the run.
    """
    pyramid = (config.get("model") or {}).get("pyramid")
    if not isinstance(pyramid, dict) or pyramid["type"].split(".")[-1] != "DetectorPyramid":
        return ()
    return ("neck",) if pyramid.get("towers") is None else ("neck", "bbox_head")


def check_parts(parts: Sequence[Part], config: Mapping[str, Any], to: str) -> None:
    """Raise unless these parts can be exported together.

    Args:
        parts: Of `PARTS`.
        config: The config of the run.
        to: The library.

    Raises:
        ValueError: An unknown part; one that the run has not; towers without their FPN; not mmdet.
    """
    more = [part for part in parts if part != "backbone"]
    if not {*parts} <= {*PARTS} or "backbone" not in parts:
        raise ValueError(
            f"parts must be the backbone and any of {', '.join(PARTS[1:])}, got {' '.join(parts)}."
        )
    if more and to != "mmdet":
        raise ValueError(f"Necks and heads are exported to mmdet only, not to {to}.")
    has = pyramid_parts(config)
    lacking = [part for part in more if part not in has]
    if lacking:
        raise ValueError(
            f"The run has pretrained no {' and no '.join(lacking)}: its config "
            + ("has no towers in model.pyramid." if has else "has no model.pyramid.")
            + f" Export {' '.join(('backbone', *has))}."
        )
    if more == ["bbox_head"]:
        raise ValueError(
            "Towers without the FPN that they were pretrained on start from maps that they do not know. "
            "Export backbone neck bbox_head."
        )


class PretrainedPyramid(NamedTuple):
    """The pyramid of a run, with its weights.

    Attributes:
        module: In eval mode.
        neck: The config of its FPN, without initialisation.
        parts: Which parts are exported.
        report: How its weights were found in the checkpoint.
    """

    module: DetectorPyramid
    neck: dict[str, Any]
    parts: tuple[Part, ...]
    report: LoadReport

    def weights(self) -> dict[str, Tensor]:
        """Tensors of the exported parts, by their names in a detector."""
        return {
            name: tensor
            for name, tensor in self.module.state_dict().items()
            if name.split(".")[0] in self.parts
        }

    def metadata(self) -> dict[str, Any]:
        """What a detector's config must agree with, and what the file does not hold, as plain data."""
        told: dict[str, Any] = dict(
            neck=dict(
                build=self.neck,
                settings=neck_settings(self.module.neck),
                levels=list(self.module.levels),
                left_out=list(self.module.left_out),
            )
        )
        towers = self.module.bbox_head
        if towers is not None and "bbox_head" in self.parts:
            branches = list(towers.branches)
            told["bbox_head"] = dict(branches=branches, settings=tower_settings(towers, branches))
        return told


def load_pyramid(
    config: Mapping[str, Any],
    checkpoint: dict[str, Any],
    *,
    parts: Sequence[Part],
    branch: Literal["online", "twin"],
    source: str | Path,
) -> PretrainedPyramid:
    """Rebuild the pyramid of a run and load its weights.

    Args:
        config: The config of the run.
        checkpoint: The content of its checkpoint.
        parts: The parts that are exported (see `check_parts`).
        branch: The online network or its twin.
        source: What the report calls the checkpoint.

    Raises:
        ImportError: mmdet is not installed.
        ValueError: The weights are not in the checkpoint.
    """
    pyramid = config["model"]["pyramid"]
    built = MODELS.build({**pyramid, "type": "mmssl.DetectorPyramid"})
    prefix = "pyramid." if branch == "online" else "twin.pyramid."
    report = load_backbone(built, checkpoint, branch=branch, prefix=prefix, source=source)
    neck = {key: value for key, value in pyramid["neck"].items() if key != "init_cfg"}
    return PretrainedPyramid(built.eval(), neck, tuple(parts), report)


def _mmdets(pyramid: PretrainedPyramid) -> tuple[nn.Module, nn.Module | None]:
    """mmdet's own FPN and dense head (FCOS) of the same settings, at random weights."""
    neck = ROOT_MODELS.build({**pyramid.neck, "type": "mmdet.FPN", "_scope_": "mmdet"})
    towers: Any = pyramid.module.bbox_head
    if "bbox_head" not in pyramid.parts:
        return neck.eval(), None
    head = dict(
        type="mmdet.FCOSHead",
        _scope_="mmdet",  # its losses are found there, whatever was trained before in this process
        num_classes=1,
        in_channels=towers.in_channels,
        feat_channels=towers.feat_channels,
        stacked_convs=towers.stacked_convs,
        norm_cfg=towers.norm_cfg,
        conv_bias=towers.conv_bias,
    )
    return neck.eval(), ROOT_MODELS.build(head).eval()


def _load(module: nn.Module, weights: Mapping[str, Tensor], part: str, may_lack: set[str]) -> None:
    mine = {
        name.removeprefix(f"{part}."): tensor
        for name, tensor in weights.items()
        if name.startswith(f"{part}.")
    }
    outcome = module.load_state_dict(mine, strict=False)
    missing = set(outcome.missing_keys) - may_lack
    if missing or outcome.unexpected_keys:
        raise ValueError(
            f"The export's {part} does not fit mmdet's: missing {sorted(missing)[:4]}, unexpected "
            f"{outcome.unexpected_keys[:4]}. Nothing was written."
        )


@torch.no_grad()
def pyramid_difference(
    pyramid: PretrainedPyramid,
    weights: Mapping[str, Tensor],
    *,
    ours: Sequence[Tensor],
    theirs: Sequence[Tensor],
) -> tuple[float, float]:
    """The largest difference between the pyramid's maps and those of mmdet with the exported weights.

    Args:
        pyramid: The pretrained one.
        weights: The tensors of the file.
        ours: Maps (1, C, H, W) of the pretrained trunk.
        theirs: Those of mmdet's with the exported weights.

    Returns:
        The largest absolute difference over all maps, and the largest absolute value.

    Raises:
        ValueError: A tensor is missing or has no place in mmdet's modules.
    """
    module = pyramid.module
    neck, head = _mmdets(pyramid)
    _load(neck, weights, "neck", set(module.left_out))
    wanted, got = (
        [outs[i] for i in module.indices]
        for outs in (module.neck(tuple(ours)), neck(tuple(theirs)))
    )
    towers = module.bbox_head
    if head is not None and towers is not None:
        without = {n for n in head.state_dict() if n.split("_convs")[0] not in towers.branches}
        _load(head, weights, "bbox_head", without)
        wanted = towers(wanted)
        got = [
            nn.Sequential(*head.get_submodule(f"{branch}_convs").children())(x)
            for branch in towers.branches
            for x in got
        ]
    difference = max(float((a - b).abs().max()) for a, b in zip(wanted, got, strict=True))
    return difference, max(float(x.abs().max()) for x in wanted)
