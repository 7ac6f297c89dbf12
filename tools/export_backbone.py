"""Write the backbone of a checkpoint for mmdet, mmseg, torchvision or timm, and prove that it is the same.

python tools/export_backbone.py work_dirs/run/epoch_100.pth backbone.pth --to mmdet

Of a run that has pretrained a detector's FPN or towers: --parts backbone neck bbox_head.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmssl.convert.downstream_config import write_downstream_config
from mmssl.convert.export import export_backbone
from mmssl.convert.export_targets import LIBRARIES
from mmssl.convert.pretrained_pyramid import PARTS
from mmssl.engine.user_errors import told_errors

BENCHMARKS = Path(__file__).resolve().parents[1] / "configs" / "benchmarks"
# The config that a ready one inherits by default: by the network, and for all others.
DEFAULT_CONFIGS = {
    "mmdet": {
        "SwinTransformer": "coco_detection/mask-rcnn_swin-t_fpn_8xb2-1x_coco.py",
        "CoTNet": "coco_detection/mask-rcnn_cotnet50-fpn_8xb2-90k_coco.py",
        "": "coco_detection/mask-rcnn_r50-fpn_8xb2-1x_coco.py",
    },
    "mmseg": {
        "SwinTransformer": "voc_segmentation/fcn_swin-t_4xb4-20k_voc12aug-512x512.py",
        "CoTNet": "ade20k_segmentation/upernet_cotnet50_4xb4-160k_ade20k-512x512.py",
        "": "voc_segmentation/fcn_r50-d8_4xb4-20k_voc12aug-512x512.py",
    },
}


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "checkpoint",
        help="checkpoint of a run, or an official one (a ResNet or CoTNet, or with --from-config)",
    )
    parser.add_argument("out", help="file to write: .pth or .safetensors")
    parser.add_argument("--to", required=True, choices=LIBRARIES)
    parser.add_argument(
        "--parts",
        nargs="+",
        default=("backbone",),
        choices=PARTS,
        help="for mmdet: the pretrained FPN (neck) and towers (bbox_head) too",
    )
    parser.add_argument(
        "--branch",
        default="auto",
        choices=("auto", "online", "twin"),
        help="whose backbone; auto: what the method publishes, the twin of DINO and EsViT",
    )
    parser.add_argument(
        "--from-config", help="config of the run, if the file carries or tells none"
    )
    parser.add_argument(
        "--config",
        nargs="?",
        const="",
        metavar="TRANSFER_CONFIG",
        help="also write OUT.py, a ready config that inherits this one (default: COCO Mask R-CNN "
        "for mmdet; VOC FCN, of a CoTNet ADE20K UPerNet, for mmseg)",
    )
    parser.add_argument("--tolerance", type=float, default=1e-4, help="of the largest feature")
    parser.add_argument("--trust-pickle", action="store_true", help="let the file run its code")
    args = parser.parse_args()
    if args.config is not None and args.to not in DEFAULT_CONFIGS:
        parser.error(f"--config is for --to mmdet and --to mmseg, not for --to {args.to}")
    return args


def main() -> None:
    """Export, and print the proof."""
    args = parse_args()
    with told_errors(__file__, start="Not exported. "):
        export = export_backbone(
            args.checkpoint,
            args.out,
            to=args.to,
            parts=args.parts,
            branch=args.branch,
            from_config=args.from_config,
            tolerance=args.tolerance,
            trust_pickle=args.trust_pickle,
        )
        lines = [
            str(export.report),
            f"Wrote {export.path} for {export.metadata['build']}",
            f"Largest feature difference {export.metadata['max_difference']:.3g} (largest feature "
            f"{export.metadata['max_feature']:.3g}), run with {export.metadata['verified_with']}; "
            f"not in the file: {', '.join(export.left_out) or 'nothing'}",
        ]
        if export.pyramid_report is not None:
            lines.insert(1, f"FPN and towers: {export.pyramid_report}")
            lines.append(
                f"Largest difference of the maps behind {' and '.join(export.metadata['parts'])} "
                f"{export.metadata['max_pyramid_difference']:.3g} (largest value "
                f"{export.metadata['max_pyramid_feature']:.3g})"
            )
        if export.metadata["guessed"]:
            guesses = ", ".join(export.metadata["guessed"])
            lines.append(
                f"The file does not tell, so as in the published models: {guesses}: check them, or give "
                "--from-config"
            )
        if export.more_parts:
            lines.append(
                f"The run has pretrained {' and '.join(export.more_parts)} too, not in the file: "
                f"--parts {' '.join((*args.parts, *export.more_parts))}"
            )
        if export.metadata["verified_as"]:
            lines.append(f"Compared with {export.metadata['verified_as']}")
        if args.config is not None:
            usual, kind = DEFAULT_CONFIGS[args.to], export.metadata["build"]["type"].split(".")[-1]
            inherited = args.config or BENCHMARKS / usual.get(kind, usual[""])
            config = write_downstream_config(export, inherited)
            lines.append(f"Wrote {config}: python tools/train.py {config}")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
