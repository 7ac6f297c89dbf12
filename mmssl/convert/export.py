"""Handing a pretrained backbone over to another library, with proof that it is the same network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mmssl import __version__
from mmssl.convert.checkpoint_file import file_sha256, load_weights_file, local_file
from mmssl.convert.export_targets import Library, Target, build_target
from mmssl.convert.known_colours import colours_of, known_colours
from mmssl.convert.layouts import Branch
from mmssl.convert.load_backbone import load_backbone
from mmssl.convert.load_report import LoadReport, weights_checksum
from mmssl.convert.pretrained_pyramid import (
    PARTS,
    Part,
    PretrainedPyramid,
    check_parts,
    load_pyramid,
    pyramid_difference,
    pyramid_parts,
)
from mmssl.convert.source_config import backbone_of, source_config
from mmssl.convert.weights_record import finished
from mmssl.models.backbones import CoTNet, LRNet, ResNet, Swin, TimmBackbone
from mmssl.ops.atomic_file import written_whole
from mmssl.registry import MODELS


class Export(NamedTuple):
    """What `export_backbone` wrote.

    Attributes:
        path: The file.
        metadata: The block that the file carries.
        backbone: The pretrained backbone with its weights, in eval mode.
        report: How its weights were found in the checkpoint.
        left_out: Names of the target network that the file has no weights for (a classifier).
        more_parts: Parts of a detector that the run has pretrained as well and the file does not have.
        pyramid_report: How the weights of its FPN and towers were found, if they are exported.
    """

    path: Path
    metadata: dict[str, Any]
    backbone: nn.Module
    report: LoadReport
    left_out: tuple[str, ...]
    more_parts: tuple[Part, ...]
    pyramid_report: LoadReport | None


def _build_backbone(
    config: dict[str, Any], to: Library
) -> tuple[nn.Module, dict[str, Any], list[int]]:
    """The backbone with up to four maps, none dilated, its config, and which of them pretraining read."""
    config = {
        **config,
        "type": config["type"] if "." in config["type"] else f"mmssl.{config['type']}",
    }
    backbone = MODELS.build({**config})
    if isinstance(backbone, (CoTNet, ResNet)) and backbone.output_stride is not None:
        # how densely pretraining looked is no property of the weights; other libraries look at stride 32
        config = {k: v for k, v in config.items() if k not in ("output_stride", "dilate_mixer")}
        backbone = MODELS.build({**config})
    read = list(range(len(backbone.out_channels)))
    if isinstance(backbone, (CoTNet, LRNet, ResNet, Swin, TimmBackbone)):
        pretrained = tuple(backbone.out_indices)
        last = backbone.out_indices[-1]
        # timm's Swin has no norms for maps before the last
        first = last if isinstance(backbone, Swin) and to == "timm" else max(0, last - 3)
        stages = tuple(range(first, last + 1))
        if stages != pretrained:
            config["out_indices"] = stages
            backbone = MODELS.build({**config})
            read = [stages.index(stage) for stage in pretrained if stage in stages]
    return backbone.eval(), config, read


def _write(
    path: Path, state_dict: dict[str, Tensor], metadata: dict[str, Any], suffix: str
) -> None:
    if suffix == ".safetensors":
        texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in metadata.items()}
        save_file(state_dict, path, metadata=texts)
    else:
        torch.save(dict(state_dict=state_dict, meta=metadata), path)


def _load_strictly(target: Target, state_dict: dict[str, Tensor]) -> tuple[str, ...]:
    """Load a file's tensors into the target; the names that it lacks and may lack.

    Raises:
        ValueError: Anything else is missing, left over or of another shape.
    """
    mine = {
        name.removeprefix(target.prefix): tensor
        for name, tensor in state_dict.items()
        if name.startswith(target.prefix)
    }
    theirs = target.network.state_dict()
    missing = [n for n in theirs if n not in mine and not n.endswith("num_batches_tracked")]
    left_out = tuple(n for n in missing if n in target.optional)
    missing = [n for n in missing if n not in target.optional]
    unexpected = sorted(set(mine) - set(theirs)) + [
        name for name in state_dict if not name.startswith(target.prefix)
    ]
    shapes = [n for n in mine if n in theirs and mine[n].shape != theirs[n].shape]
    if not mine or missing or unexpected or shapes:
        raise ValueError(
            f"The export does not fit {target.build}: {len(missing)} missing {missing[:4]}, "
            f"{len(unexpected)} unexpected {unexpected[:4]}, {len(shapes)} of another shape "
            f"{shapes[:4]}. Nothing was written."
        )
    target.network.load_state_dict(mine, strict=False)
    return left_out


@torch.no_grad()
def feature_difference(
    backbone: nn.Module, target: Target, image_size: tuple[int, int]
) -> tuple[float, float]:
    """The largest difference of two networks' feature maps on one image.

    The image is standard normal noise from a fixed seed, which reaches all channels.

    Args:
        backbone: The pretrained one.
        target: The network that has loaded the export.
        image_size: (height, width) in pixels.

    Returns:
        The largest absolute difference, and the largest absolute feature.

    Raises:
        ValueError: Other numbers or shapes of maps, or non-finite features.
    """
    backbone.eval()
    target.network.eval()
    image = torch.randn(1, 3, *image_size, generator=torch.Generator().manual_seed(0))
    ours, theirs = tuple(backbone(image)), tuple(target.features(image))
    shapes = [[tuple(m.shape) for m in maps] for maps in (ours, theirs)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"The pretrained backbone returns {shapes[0]}, {target.build} {shapes[1]}."
        )
    if not all(m.isfinite().all() for m in (*ours, *theirs)):
        raise ValueError(
            "Features are not finite: the pretrained weights are damaged (NaN or Inf)."
        )
    difference = max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True))
    return difference, max(float(m.abs().max()) for m in ours)


def _input_size(backbone: nn.Module) -> tuple[int, int]:
    if isinstance(backbone, Swin):
        return backbone.pretrain_img_size, backbone.pretrain_img_size
    size = backbone.model_args.get("img_size", 224) if isinstance(backbone, TimmBackbone) else 224
    return (size, size) if isinstance(size, int) else tuple(size)


def _metadata(
    content: dict[str, Any],
    checkpoint: str | Path,
    config: dict[str, Any],
    state_dict: dict[str, Tensor],
) -> dict[str, Any]:
    """Where the weights come from, and the images that they know."""
    # those of the config first: of an official file it is --from-config that knows them
    known = colours_of(config) or known_colours(content)
    imports = config.get("custom_imports", {}).get("imports", [])
    return dict(
        method=str(config["model"].get("type")),
        epoch=finished(content, "epoch"),
        iter=finished(content, "iter"),
        source=Path(checkpoint).name,
        source_sha256=file_sha256(local_file(checkpoint)),
        weights_sha256=weights_checksum(state_dict),
        mmssl_version=__version__,
        custom_imports=[imports] if isinstance(imports, str) else list(imports),
        channel_order="RGB",
        mean=known and known.mean,
        std=known and known.std,
    )


def _check_difference(what: str, difference: float, largest: float, tolerance: float) -> None:
    if not difference <= tolerance * max(1.0, largest):
        raise ValueError(
            f"{what}: largest difference {difference:.3g}, largest feature {largest:.3g}, accepted "
            f"{tolerance:.3g} of it. Nothing was written."
        )


class _Proof(NamedTuple):
    """The pretrained networks and the target that has to equal them.

    Attributes:
        backbone: The pretrained one.
        target: That of the other library.
        pyramid: The pretrained FPN and towers, if they are exported.
        read: Which maps of the trunk the pyramid reads.
        image_size: (height, width) of the compared image.
        tolerance: Largest accepted difference, as a share of the largest feature (at least 1).
    """

    backbone: nn.Module
    target: Target
    pyramid: PretrainedPyramid | None
    read: list[int]
    image_size: tuple[int, int]
    tolerance: float

    def run(self, written: dict[str, Tensor]) -> tuple[tuple[str, ...], dict[str, Any]]:
        """Load a file's tensors into the target and compare; the names that it lacks, and the outcome.

        Raises:
            ValueError: The tensors do not fit, or other features.
        """
        trunk, detector = written, dict[str, Tensor]()
        if self.pyramid:
            detector = {n: w for n, w in written.items() if n.split(".")[0] in PARTS[1:]}
            trunk = {n: w for n, w in written.items() if n not in detector}
        left_out = _load_strictly(self.target, trunk)
        difference, largest = feature_difference(self.backbone, self.target, self.image_size)
        fault = (
            f"{self.target.build} with the exported weights gives other features than pretrained"
        )
        _check_difference(fault, difference, largest, self.tolerance)
        told = dict[str, Any](
            max_difference=difference,
            max_feature=largest,
            image_size=list(self.image_size),
            verified_with=self.target.verified_with,
            verified_as=self.target.note or None,
        )
        if self.pyramid:
            proof = self.compare_pyramids(self.pyramid, detector)
            fault = "mmdet's FPN and towers give other maps than the pretrained ones"
            _check_difference(fault, *proof, self.tolerance)
            told |= dict(max_pyramid_difference=proof[0], max_pyramid_feature=proof[1])
        return left_out, told

    @torch.no_grad()
    def compare_pyramids(
        self, pyramid: PretrainedPyramid, weights: dict[str, Tensor]
    ) -> tuple[float, float]:
        """`pyramid_difference` on the image of `feature_difference`, each pyramid on its own trunk."""
        image = torch.randn(1, 3, *self.image_size, generator=torch.Generator().manual_seed(0))
        ours, theirs = tuple(self.backbone(image)), tuple(self.target.features(image))
        return pyramid_difference(
            pyramid,
            weights,
            ours=[ours[i] for i in self.read],
            theirs=[theirs[i] for i in self.read],
        )


def _write_proven(
    out: Path, state_dict: dict[str, Tensor], metadata: dict[str, Any], proof: _Proof
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Write the file, prove it, and only then give it its name; names left out, the whole metadata."""
    with written_whole(out) as partial:
        _write(partial, state_dict, metadata, out.suffix)
        left_out, told = proof.run(load_weights_file(partial)["state_dict"])
        metadata = metadata | told
        _write(partial, state_dict, metadata, out.suffix)
    return left_out, metadata


def export_backbone(
    checkpoint: str | Path,
    out: str | Path,
    *,
    to: Library,
    parts: Sequence[Part] = ("backbone",),
    branch: Branch = "auto",
    from_config: str | Path | None = None,
    image_size: tuple[int, int] | None = None,
    tolerance: float = 1e-4,
    trust_pickle: bool = False,
) -> Export:
    """Write a checkpoint's backbone, and a detector's parts, for another library, after a run on one image.

    The file appears under its name only when every tensor arrived and the features agree.

    Args:
        checkpoint: A checkpoint of a run, or an official one: of a ResNet (MoCo, PCL, HCSC, CARE, ...) as it
            is, of other networks together with `from_config`. A ResNet that was dilated (`output_stride`)
            is exported as the plain one of these weights, with stride 32, and a CoTNet too (whose stages
            average before a stride: its plain maps are not quite samples of the dilated ones).
        out: `.pth` (a dict of `state_dict` and `meta`, loadable with `weights_only=True`) or
            `.safetensors` (metadata as texts). Names carry the prefix `backbone.` for mmdet and mmseg,
            none for torchvision and timm, whose classifier is not in the file. A Swin for mmdet and
            mmseg has their windows: tables of smaller ones are resized, norms of earlier maps are at
            their initial values unless pretrained.
        to: The library.
        parts: What is written of a run that has pretrained more of a detector than its trunk, for mmdet:
            `neck` is its FPN (names `neck.*`), `bbox_head` the towers (`bbox_head.*`).
        branch: The `online` network, its momentum `twin`, or `auto`: what the method publishes
            (`load_backbone`).
        from_config: A config whose `model.backbone` is the network, for checkpoints without one.
        image_size: (height, width) of the compared image; default: the model's own size, else 224.
        tolerance: Largest accepted difference, as a share of the largest feature (at least 1).
        trust_pickle: Allow a pickle to run code.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        PermissionError: The checkpoint is a pickle that wants more than tensors.
        ValueError: Any doubt: unreadable file, incomplete match, no equal network, other features.
    """
    out = Path(out)
    if out.suffix not in (".pth", ".safetensors"):
        raise ValueError(f"The export is written as .pth or .safetensors, got {out.name!r}.")
    content = load_weights_file(checkpoint, trust_pickle=trust_pickle)
    config, config_hash, guessed = source_config(content, from_config)
    check_parts(parts, config, to)
    backbone, backbone_config, read = _build_backbone(backbone_of(config), to)
    report = load_backbone(backbone, content, branch=branch, source=checkpoint)
    target = build_target(to, backbone, backbone_config)
    pyramid = None
    if len(parts) > 1:
        pyramid = load_pyramid(
            config, content, parts=parts, branch=report.branch, source=checkpoint
        )

    weights = target.file_weights(backbone.state_dict()) | (pyramid.weights() if pyramid else {})
    state_dict = {name: tensor.detach().clone().contiguous() for name, tensor in weights.items()}
    metadata: dict[str, Any] = dict(
        branch=report.branch,
        to=to,
        build=target.build,
        config_sha256=config_hash,
        guessed=list(guessed),
    )
    metadata |= _metadata(content, checkpoint, config, state_dict)
    if pyramid:
        metadata["parts"] = pyramid.metadata()

    size = image_size or _input_size(backbone)
    proof = _Proof(backbone, target, pyramid, read, size, tolerance)
    left_out, metadata = _write_proven(out, state_dict, metadata, proof)
    more = tuple(part for part in pyramid_parts(config) if part not in parts)
    found = pyramid.report if pyramid else None
    return Export(out, metadata, backbone, report, left_out, more, found)
