"""Stand-ins for what commands of the documentation read: drawn images, random weights.

Layouts, names and numbers of tensors are those of the real thing; pictures and weights say nothing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config, DictAction
from mmengine.registry import DefaultScope
from PIL import Image

import mmssl.models.algorithms  # noqa: F401  (registers the methods)
from mmssl.convert.convert_file import convert_file
from mmssl.datasets import VOC_CLASSES
from mmssl.engine.config import load_config
from mmssl.models.algorithms.base import BaseAlgorithm
from mmssl.models.backbones import ResNet, Swin
from mmssl.registry import MODELS
from tests.helpers.commands import run_command
from tests.helpers.doc_sizes import CARE, FEW_CLUSTERS, FEW_SHAPES, PRETRAINING_ON_SHAPES
from tests.helpers.pictures import write_folder

ROOT = Path(__file__).resolve().parents[2]
CARE_LEAF = "configs/care/care_resnet50_1xb64-coslr-200e_folder.py"


def _folders(root: Path, num: int, classes: tuple[str, ...]) -> None:
    for split in ("train", "val"):
        write_folder(root / split, num, classes=classes)


def _draw_shapes(root: Path) -> None:
    """As the tool draws it, so that its command on a page finds all there."""
    _run(f"python {ROOT}/tools/make_shapes.py {root.name} {FEW_SHAPES}", root.parent)


def _run(line: str, folder: Path) -> None:
    status, output = run_command(line, folder)
    assert status == 0, output[-3000:]


def _as_coco(root: Path, *, classes: tuple[str, ...], splits: dict[str, str], names: str) -> None:
    """Scenes of Shapes in COCO's layout, under names of COCO's or one's own classes."""
    shapes = root.parent / "shapes"
    for split, theirs in splits.items():
        file = shapes / f"coco/annotations/instances_{split}.json"
        content = json.loads(file.read_text())
        for thing in content["annotations"]:
            thing["category_id"] = (thing["category_id"] - 1) % len(classes) + 1
        content["categories"] = [dict(id=i + 1, name=name) for i, name in enumerate(classes)]
        annotations = root / names.format(theirs)
        annotations.parent.mkdir(parents=True, exist_ok=True)
        annotations.write_text(json.dumps(content))
        shutil.copytree(shapes / "coco" / split, root / theirs)


def _coco(root: Path) -> None:
    from mmdet.datasets import CocoDataset  # a network may find each of the 80 classes

    _as_coco(
        root, classes=CocoDataset.METAINFO["classes"],
        splits=dict(train="train2017", val="val2017"), names="annotations/instances_{}.json",
    )  # fmt: skip


def _parts(root: Path) -> None:
    _as_coco(
        root, classes=("bolt", "nut"), splits=dict(train="train", val="val"), names="{}.json"
    )  # fmt: skip


def _voc(root: Path) -> None:
    """VOC2012 of scenes of Shapes with their masks, and VOC2007 with each class in every other image."""
    shutil.copytree(root.parent / "shapes/voc", root / "VOC2012")
    masks = root / "VOC2012/SegmentationClass"
    shutil.copytree(masks, root / "VOC2012/SegmentationClassAug")
    lists = root / "VOC2012/ImageSets/Segmentation"
    shutil.copy(lists / "train.txt", lists / "aug.txt")

    names = [path.stem for path in write_folder(root / "VOC2007/JPEGImages", 36)]
    (root / "VOC2007/Annotations").mkdir()
    (root / "VOC2007/ImageSets/Main").mkdir(parents=True)
    for number, name in enumerate(names):
        things = "".join(
            f"<object><name>{kind}</name><difficult>0</difficult></object>"
            for kind in VOC_CLASSES[number % 2 :: 2]
        )
        file = root / f"VOC2007/Annotations/{name}.xml"
        file.write_text(f"<annotation>{things}</annotation>")
    splits = dict(train=names[:16], val=names[16:20], trainval=names, test=names[:4])
    for split, part in splits.items():
        (root / f"VOC2007/ImageSets/Main/{split}.txt").write_text("\n".join(part))


def as_values(options: tuple[str, ...]) -> dict:
    """`key=value` of a command line as `load_config` takes them."""
    pairs = (option.split("=", 1) for option in options)
    return {key: DictAction._parse_iterable(value) for key, value in pairs}


def small_config(leaf: str, options: tuple[str, ...], **others: object) -> Config:
    """A leaf with options as of a command line and others."""
    return load_config(ROOT / leaf, as_values(options) | others)


def save_untrained(config: Config, path: Path) -> None:
    """A checkpoint as a run writes it, of the network before its first step."""
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        model = MODELS.build(config.model)
    if isinstance(model, BaseAlgorithm):
        model.init_weights()  # the twin becomes the copy that it is
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = dict(cfg=config.pretty_text, epoch=1, iter=1)
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)


def _pretraining(
    leaf: str, options: tuple[str, ...] = (), **others: object
) -> Callable[[Path], None]:
    """Maker of a checkpoint of a run that has made no step."""
    return lambda path: save_untrained(small_config(leaf, options, **others), path)


def _config(leaf: str, options: tuple[str, ...], root: str) -> Callable[[Path], None]:
    """Maker of a config that trains on a folder."""
    images = {"train_dataloader.dataset.root": root}
    return lambda path: small_config(leaf, options, **images).dump(str(path))


def _trained(config: str) -> Callable[[Path], None]:
    """Maker of a checkpoint with clusters, which come from a run only."""

    def train(path: Path) -> None:
        folder = path.parents[2]
        work_dir = path.parent.relative_to(folder)
        _run(f"python tools/train.py {config} --work-dir {work_dir}", folder)
        os.link(path.with_name("epoch_1.pth"), path)

    return train


def _official(leaf: str, options: tuple[str, ...] = ()) -> Callable[[Path], None]:
    """Maker of a file in the layout of a method's authors, which says nothing of our config."""

    def write(path: Path) -> None:
        ours = path.with_name("stand_in.pth")
        _pretraining(leaf, options)(ours)
        convert_file(ours, path, to="official")
        ours.unlink()
        file = torch.load(path, weights_only=False)
        file.pop("meta", None)
        torch.save(file, path)

    return write


def _weights(network: Callable[[], torch.nn.Module]) -> Callable[[Path], None]:
    """Maker of a file with the weights of a backbone alone, by torchvision's names for a ResNet."""

    def write(path: Path) -> None:
        torch.manual_seed(0)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(network().state_dict(), path)

    return write


def _segmenter(path: Path) -> None:
    config = small_config(
        "configs/benchmarks/voc_segmentation/fcn_r50-d8_4xb4-20k_voc12aug-512x512.py", ()
    )
    save_untrained(config, path)


def _masks(root: Path) -> None:
    """Scenes of Shapes and their masks, of three classes, in folders of one's own."""
    voc = root.parent / "shapes/voc"
    for split in ("train", "val"):
        for folder in ("images", "masks"):
            (root / folder / split).mkdir(parents=True)
        for name in (voc / f"ImageSets/Segmentation/{split}.txt").read_text().split():
            shutil.copy(voc / f"JPEGImages/{name}.jpg", root / "images" / split)
            with Image.open(voc / f"SegmentationClass/{name}.png") as image:
                mask = np.asarray(image)
            mask = np.where(mask == 255, mask, mask % 3).astype(np.uint8)
            Image.fromarray(mask).save(root / f"masks/{split}/{name}.png")


COTNET = "configs/cotnet/cotnet50_8xb80-coslr-350e_in1k.py"
ESVIT = ("model.head.out_channels=64", "model.region_head.out_channels=64")
SHAPES = "data/shapes/unlabelled"
HCSC = "configs/hcsc/hcsc_resnet18_1xb32-coslr-4e_shapes.py"
PCL = "configs/pcl/pcl-v2_resnet18_1xb32-coslr-4e_shapes.py"
PIXPRO = "configs/pixpro/pixpro_resnet50_8xb128-coslr-100e_in1k.py"
CARE_RUN = _pretraining(CARE_LEAF, CARE)
COTNET_RUN = _pretraining(COTNET)
PIXPRO_RUN = _pretraining(PIXPRO)
CLUSTERED = PRETRAINING_ON_SHAPES + FEW_CLUSTERS

FILES: dict[str, Callable[[Path], object]] = {
    "data/shapes": _draw_shapes,
    "data/coco": _coco,
    "data/parts": _parts,
    "data/masks": _masks,
    "data/VOCdevkit": _voc,
    "data/imagenet": lambda path: _folders(path, 18, ("n01", "n02", "n03")),
    "photos": lambda path: write_folder(path, 16),
    "labelled": lambda path: _folders(path, 24, ("cat", "dog")),
    "a.jpg": lambda path: write_folder(path.parent, 1)[0].rename(path),
    "photo.jpg": lambda path: write_folder(path.parent, 1)[0].rename(path),
    "classes.txt": lambda path: path.write_text("cat\ndog\n" * 8),
    "config.py": _config(CARE_LEAF, CARE, "photos"),
    "hcsc.py": _config(HCSC, CLUSTERED, SHAPES),
    "pcl.py": _config(PCL, (*CLUSTERED, "train_dataloader.batch_size=8"), "photos"),
    "run.pth": CARE_RUN,
    "care.pth": CARE_RUN,
    "byol.pth": _pretraining(
        "configs/byol/byol_resnet50_32xb128-coslr-100e_in1k.py",
        ("model.neck.hid_channels=64", "model.head.hid_channels=64"),
    ),
    "pyramid.pth": _pretraining("configs/pixpro/pixpro_resnet18-fcos_1xb32-coslr-4e_shapes.py"),
    "fcn.pth": _segmenter,
    "cotnet50_ours.pth": COTNET_RUN,
    "resnet18.pth": _weights(lambda: ResNet(18)),
    "swin_tiny.pth": _weights(Swin),
    "esvit_swin_tiny.pth": _pretraining(
        "configs/esvit/esvit_swin-tiny-w7_16xb32-coslr-300e_in1k.py", ESVIT
    ),
    "moco_v2_800ep_pretrain.pth.tar": _official(
        "configs/moco/mocov2_resnet50_8xb32-coslr-800e_in1k.py", ("model.queue_length=64",)
    ),
    "last_epoch.pth.tar": _official(CARE_LEAF, CARE),
    "moco_v2_200ep_pretrain.pth.tar": _official(
        "configs/moco/mocov2_resnet50_8xb32-coslr-200e_in1k.py", ("model.queue_length=64",)
    ),
    "densecl_epoch_200.pth": _official(
        "configs/densecl/densecl_resnet50_8xb32-coslr-200e_in1k.py", ("model.queue_length=64",)
    ),
    "hcsc_200eps.pth.tar": _official(
        "configs/hcsc/hcsc_resnet50_8xb32-coslr-200e_in1k.py", ("model.queue_length=64",)
    ),
    "PCL_v2_epoch200.pth.tar": _official(
        "configs/pcl/pcl-v2_resnet50_8xb32-coslr-200e_in1k.py", ("model.queue_length=64",)
    ),
    "lemniscate_resnet50_update.pth": _official(
        "configs/npid/npid_resnet50_4xb64-steplr-200e_in1k.py", ("model.num_samples=64",)
    ),
    "pic_200ep.pth": _official(
        "configs/pic/pic_resnet50_4xb64-coslr-200e_in1k.py", ("model.head.num_instances=64",)
    ),
    "pixpro_base_r50_100ep.pth": _official(PIXPRO),
    "hub/checkpoints/resnet50-0676ba61.pth": _weights(lambda: ResNet(50)),
    "work_dirs/hcsc/epoch_200.pth": _trained("hcsc.py"),
    "work_dirs/pcl/epoch_200.pth": _trained("pcl.py"),
    "work_dirs/pixpro/epoch_100.pth": PIXPRO_RUN,
    "work_dirs/esvit/epoch_100.pth": _pretraining(
        "configs/esvit/esvit_swin-shapes_1xb32-coslr-4e_shapes.py"
    ),
    "work_dirs/my_run/epoch_200.pth": CARE_RUN,
    "work_dirs/photos/epoch_200.pth": CARE_RUN,
    "work_dirs/pixpro_resnet50_8xb128-coslr-100e_in1k/epoch_100.pth": PIXPRO_RUN,
    "work_dirs/cotnet50_8xb80-coslr-350e_in1k/epoch_350.pth": COTNET_RUN,
    "work_dirs/mocov2_cotnet50_8xb32-coslr-200e_in1k/epoch_200.pth": _pretraining(
        "configs/cotnet/mocov2_cotnet50_8xb32-coslr-200e_in1k.py", ("model.queue_length=64",)
    ),
}
"""Makers of what is named so in a page's folder; later ones may use what earlier ones made."""

IMPLIED = (
    (r"parts_pretrain\.py", "hub/checkpoints/resnet50-0676ba61.pth"),
    (r"labelled_finetune\.py", "labelled"),
    (r"labelled_finetune\.py", "work_dirs/photos/epoch_200.pth"),
    (r"parts_detector\.py", "data/parts"),
    (r"parts_segmenter\.py", "data/masks"),
    (r"predict\.py", "photos"),
    (r"_coco\.py|train\.py backbone\.py|--to mmdet --config", "data/coco"),
    (r"imagenet_|cotnet50_8", "data/imagenet"),
    (r"voc07_|voc12aug", "data/VOCdevkit"),
    (r"work_dirs/hcsc", "hcsc.py"),
    (r"work_dirs/pcl", "pcl.py"),
    (r"pcl\.py|config\.py", "photos"),
    (r"shapes|data/coco|data/parts|data/masks|data/VOC|hcsc\.py|pcl\.py", "data/shapes"),
)
"""(a text that, what it needs without naming it), in this order."""


USE_NEIGHBOURS = (
    *("data/coco", "data/parts", "data/masks", "data/VOCdevkit", "a.jpg", "photo.jpg"),
    *("work_dirs/hcsc/epoch_200.pth", "work_dirs/pcl/epoch_200.pth"),
)
"""Made in a page's folder from what is there, for that page alone."""

PAGE_FILES: dict[str, dict[str, Callable[[Path], object]]] = {
    "docs/checkpoints.md": {"work_dirs/run/epoch_100.pth": CARE_RUN},
    "docs/evaluation.md": {
        "work_dirs/run/epoch_100.pth": _pretraining(
            "configs/cotnet/cotnet50_8xb64-coslr-100e_in1k.py"
        )
    },
    "configs/dino/README.md": {
        "checkpoint.pth": _official(
            "configs/dino/dino_swin-tiny-w7_16xb32-coslr-300e_in1k.py",
            ("model.head.out_channels=64",),
        )
    },
    "configs/esvit/README.md": {
        "checkpoint.pth": _official(
            "configs/esvit/esvit_swin-tiny-w7_16xb32-coslr-300e_in1k.py", ESVIT
        ),
        "run.pth": _pretraining("configs/esvit/esvit_swin-shapes_1xb32-coslr-4e_shapes.py"),
    },
    "configs/moby/README.md": {
        "checkpoint.pth": _official(
            "configs/moby/moby_swin-tiny-w7_8xb64-coslr-100e_in1k.py", ("model.queue_length=64",)
        )
    },
}
"""Files whose name means something else on another page."""


def _from_cache(make: Callable[[Path], object], path: Path, cache: Path) -> None:
    """Make something once for all names and pages that have it from the same maker."""
    kept = cache / f"{id(make)}{''.join(path.suffixes)}"
    if not kept.exists():
        make(kept)
    if kept.is_dir():
        shutil.copytree(kept, path)
    else:
        os.link(kept, path)


def provide(folder: Path, page: str, text: str, cache: Path) -> None:
    """Make the stand-ins that a text names or implies, unless the folder has them.

    Args:
        folder: Where they go.
        page: Name of the page.
        text: Its commands.
        cache: A folder of the same disk that keeps them for further pages.
    """
    for pattern, name in IMPLIED:
        if re.search(pattern, text):
            text += f"\n{name}"
    for name, make in (FILES | PAGE_FILES.get(page, {})).items():
        path = folder / name
        if path.exists() or not re.search(rf"(?<![\w./-]){re.escape(name)}(?![\w-])", text):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if name in USE_NEIGHBOURS:
            make(path)
        else:
            _from_cache(make, path, cache)
