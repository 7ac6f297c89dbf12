"""Transfer configs train with mmdet and mmseg on Shapes, from a backbone that really arrived."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import pytest
import torch

from mmssl.engine.config import load_config
from tests.helpers import transfer

pytestmark = [pytest.mark.integration, pytest.mark.downstream]

DETECTOR = "shapes_detection/faster_rcnn_r18_fpn_shapes.py"
SEGMENTER = "shapes_segmentation/fcn_r18_shapes.py"
ONE_ITERATION = {
    "train_cfg.max_iters": 1,
    "train_cfg.val_interval": 1,
    "optim_wrapper.optimizer.lr": 0.0,
}
FEW_REGIONS = {
    "model.train_cfg.rcnn.sampler.num": 8,
    "model.train_cfg.rpn_proposal.max_per_img": 16,
    "model.test_cfg.rpn.max_per_img": 16,
    "model.test_cfg.rcnn.max_per_img": 8,
    "custom_hooks.1.num_iters": 1,
}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return transfer.draw_few(tmp_path_factory.mktemp("data") / "shapes")


def _assert_arrived(model, state):
    for name, parameter in model.backbone.named_parameters():
        assert torch.equal(parameter, state[name]), name


def test_raises_without_backbone_before_training(shapes, tmp_path):
    with pytest.raises(ValueError, match="none was given"):
        transfer.run(SEGMENTER, tmp_path, transfer.shapes_segmentation(shapes))
    assert not list(tmp_path.rglob("*.pth"))


def test_values_detector_starts_from_the_backbone(shapes, tmp_path):
    state = transfer.write_backbone(tmp_path / "backbone.pth", 18)
    options = transfer.coco_on_shapes(shapes) | ONE_ITERATION | FEW_REGIONS
    options["load_from"] = str(tmp_path / "backbone.pth")
    runner = transfer.run(DETECTOR, tmp_path / "run", options)
    _assert_arrived(runner.model, state)
    record = json.loads((tmp_path / "run" / "backbone.json").read_text())
    assert record["tensors"] == {"backbone": 120}
    # Precise BN has measured the training batch, and the checkpoint holds what it measured.
    mean = runner.model.backbone.bn1.running_mean
    assert not torch.allclose(mean, state["bn1.running_mean"])
    saved = torch.load(tmp_path / "run" / "iter_1.pth", weights_only=False)["state_dict"]
    assert torch.equal(saved["backbone.bn1.running_mean"], mean)
    assert -1 <= runner.message_hub.get_scalar("val/coco/bbox_mAP").current() <= 1


def test_values_segmenter_baseline_is_on_purpose(shapes, tmp_path):
    options = transfer.shapes_segmentation(shapes) | ONE_ITERATION | {"load_from": None}
    runner = transfer.run(SEGMENTER, tmp_path, options)
    assert json.loads((tmp_path / "backbone.json").read_text()) == {"source": None}
    assert 0 <= runner.message_hub.get_scalar("val/mIoU").current() <= 100
    assert "RANDOM weights" in next(tmp_path.rglob("*.log")).read_text()


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_values_learning_rates_say_which_batch_they_are_for(task):
    """`--auto-scale-lr` of a transfer run on fewer devices."""
    leaves = [path for path in transfer.BENCHMARKS.glob(f"*_{task}/*.py") if "xb" in path.name]
    assert len(leaves) >= 10
    for path in leaves:
        devices, images = map(int, re.search(r"_(\d+)xb(\d+)-", path.name).groups())
        assert load_config(path).auto_scale_lr.base_batch_size == devices * images, path.name


def test_values_difficult_objects(shapes, tmp_path):
    from mmssl.downstream.detection import VOCDetection

    names = (shapes / "voc/ImageSets/Main/train.txt").read_text().split()
    voc = tmp_path / "voc"
    (voc / "ImageSets/Main").mkdir(parents=True)
    (voc / "Annotations").mkdir()
    (voc / "JPEGImages").symlink_to(shapes / "voc/JPEGImages")
    (voc / "ImageSets/Main/train.txt").write_text(names[0])
    tree = ElementTree.parse(shapes / f"voc/Annotations/{names[0]}.xml")
    objects = tree.findall("object")
    for thing in objects:
        thing.find("difficult").text = "1"
    tree.write(voc / f"Annotations/{names[0]}.xml")

    def flags(**changes):
        dataset = VOCDetection(
            data_root=str(voc), ann_file="ImageSets/Main/train.txt",
            data_prefix=dict(sub_data_root=""), metainfo=dict(classes=transfer.SPECIES),
            pipeline=[], **changes,
        )  # fmt: skip
        return [thing["ignore_flag"] for thing in dataset.get_data_info(0)["instances"]]

    count = len(objects)
    assert flags() == [0] * count
    assert flags(difficult="ignore") == [1] * count
    assert flags(test_mode=True) == [1] * count
    with pytest.raises(ValueError, match="'use' or 'ignore'"):
        flags(difficult="keep")


def test_values_extra_norm_of_the_roi_head():
    from mmssl.downstream.detection import ResLayerExtraNorm

    torch.manual_seed(0)
    head = ResLayerExtraNorm(18, norm_cfg=dict(type="BN", requires_grad=True), norm_eval=False)
    head.train()
    out = head(torch.randn(4, 256, 6, 6))
    assert out.shape == (4, 512, 3, 3)
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(512), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        out.var((0, 2, 3), unbiased=False), torch.ones(512), atol=2e-2, rtol=0
    )
    names = {name.split(".")[0] for name in head.state_dict()}
    assert names == {"layer4", "norm"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "leaf",
    [
        "coco_detection/mask-rcnn_r50-c4_8xb2-1x_coco.py",
        "coco_detection/mask-rcnn_r50-fpn-4conv1fc_8xb2-1x_coco.py",
        "voc_detection/faster-rcnn_r50-c4_8xb2-24k_voc0712.py",
    ],
)
def test_values_detection_leaf_runs_on_shapes(leaf, shapes, tmp_path):
    state = transfer.write_backbone(tmp_path / "backbone.pth", 50)
    options = dict(FEW_REGIONS) | {"load_from": str(tmp_path / "backbone.pth")}
    options["optim_wrapper.optimizer.lr"] = 0.0
    options["model.roi_head.bbox_head.num_classes"] = 12
    options["val_dataloader.dataset.pipeline.1.scale"] = (64, 64)
    if leaf.startswith("voc"):
        options |= transfer.voc_boxes_on_shapes(shapes)
        options |= {"train_cfg.max_iters": 1, "train_cfg.val_interval": 1}
        for part in (0, 1):
            options[f"train_dataloader.dataset.datasets.{part}.pipeline.2.scales"] = [(64, 64)]
            options[f"train_dataloader.dataset.datasets.{part}.indices"] = 2
    else:
        options |= transfer.coco_on_shapes(shapes)
        options["model.roi_head.mask_head.num_classes"] = 12
        options["train_dataloader.dataset.pipeline.2.scales"] = [(64, 64)]
        options["train_dataloader.dataset.indices"] = 2
        options["train_cfg.max_epochs"] = 1
    runner = transfer.run(leaf, tmp_path / "run", options)
    _assert_arrived(runner.model, state)
    if "-c4_" in leaf:
        for name, parameter in runner.model.roi_head.shared_head.layer4.named_parameters():
            assert torch.equal(parameter, state[f"layer4.{name}"]), name
    keys = runner.message_hub.log_scalars
    expected = ["pascal_voc/mAP", "pascal_voc/AP50", "pascal_voc/AP75"]
    if leaf.startswith("coco"):
        expected = ["coco/bbox_mAP", "coco/segm_mAP"]
    for key in expected:
        assert f"val/{key}" in keys


@pytest.mark.slow
@pytest.mark.parametrize(
    "leaf",
    [
        "voc_segmentation/fcn_r50-d8_4xb4-20k_voc12aug-512x512.py",
        "voc_segmentation/fcn_r50-d16_8xb2-30k_voc12aug-513x513.py",
    ],
)
def test_values_segmentation_leaf_runs_on_shapes(leaf, shapes, tmp_path):
    state = transfer.write_backbone(tmp_path / "backbone.pth", 50)
    options = transfer.voc_masks_on_shapes(shapes) | ONE_ITERATION
    options |= {
        "load_from": str(tmp_path / "backbone.pth"),
        "model.decode_head.num_classes": 13,
        "model.data_preprocessor.size": (64, 64),
    }
    for part in (0, 1):
        prefix = f"train_dataloader.dataset.datasets.{part}.pipeline"
        options[f"{prefix}.3.crop_size"] = (64, 64)
        if "d8" in leaf:
            options[f"{prefix}.2.scale"] = (128, 64)
            options[f"{prefix}.6.size"] = (64, 64)
    if "d8" in leaf:
        options["model.auxiliary_head.num_classes"] = 13
        options["val_dataloader.dataset.pipeline.1.scale"] = (64, 64)
    runner = transfer.run(leaf, tmp_path / "run", options)
    _assert_arrived(runner.model, state)
    assert 0 <= runner.message_hub.get_scalar("val/mIoU").current() <= 100
