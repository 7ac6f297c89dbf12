"""A small Swin, exported, trains and is evaluated under every transfer recipe of Swin-T, on Shapes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torch import Tensor

from mmssl.convert.downstream_config import write_downstream_config
from mmssl.convert.export import export_backbone
from mmssl.convert.load_report import weights_checksum
from mmssl.convert.name_layouts import DERIVED
from mmssl.models.backbones import Swin
from tests.helpers import transfer

pytestmark = [pytest.mark.integration, pytest.mark.downstream, pytest.mark.slow]
SMALL = dict(embed_dims=8, depths=(1, 2, 2, 2), num_heads=(1, 1, 2, 2))


@pytest.fixture(scope="module")
def shapes(tmp_path_factory) -> Path:
    return transfer.draw_few(tmp_path_factory.mktemp("data") / "shapes")


def ready_config(folder: Path, leaf: str) -> tuple[str, dict[str, Tensor]]:
    """Pretrained, exported, with a ready config: its path, and the backbone's weights in the file."""
    torch.manual_seed(0)
    network = Swin(**SMALL)
    network.init_weights()
    text = Config(dict(model=dict(type="EsViT", backbone=dict(type="mmssl.Swin", **SMALL))))
    state = {f"backbone.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save(dict(meta=dict(cfg=text.pretty_text), state_dict=state), folder / "run.pth")
    library = "mmdet" if "detection" in leaf else "mmseg"
    written = export_backbone(folder / "run.pth", folder / "backbone.pth", to=library)
    config = write_downstream_config(written, transfer.BENCHMARKS / leaf)
    content = torch.load(written.path, weights_only=True)["state_dict"]
    return str(config), {k.removeprefix("backbone."): v for k, v in content.items()}


def assert_trained_from(work_dir: Path, model: torch.nn.Module, weights: dict[str, Tensor]) -> None:
    """The run started from exactly these weights, and every one of them has learned."""
    parameters = dict(model.backbone.named_parameters())
    record = json.loads((work_dir / "backbone.json").read_text())
    loaded = {name: weights[name] for name in parameters}
    assert record["tensors"] == {"backbone": len(parameters)}
    assert record["checksums"] == {"backbone": weights_checksum(loaded)}
    assert record["meta"]["verified_as"].endswith("stage 4 does not shift")
    for name, parameter in parameters.items():
        assert not torch.equal(parameter, weights[name]), name
        assert bool(parameter.isfinite().all()), name
    for name, buffer in model.backbone.named_buffers():
        assert DERIVED.fullmatch(name) and torch.equal(buffer, weights[name]), name


def detection_options(root: Path, leaf: str) -> dict:
    options = transfer.coco_on_shapes(root) | {
        "model.train_cfg.rcnn.sampler.num": 8,
        "model.train_cfg.rpn_proposal.max_per_img": 16,
        "model.test_cfg.rpn.max_per_img": 16,
        "model.test_cfg.rcnn.max_per_img": 8,
        "model.roi_head.bbox_head.num_classes": 12,
        "model.roi_head.mask_head.num_classes": 12,
        "val_dataloader.dataset.pipeline.1.scale": (64, 64),
        "train_cfg.max_epochs": 1,
    }
    train = "train_dataloader.dataset.pipeline"
    if "1x" in leaf:
        return options | {f"{train}.2.scale": (64, 64)}
    return options | {
        f"{train}.3.transforms.0.0.scales": [(64, 64), (80, 80)],
        f"{train}.3.transforms.1.0.scales": [(64, 64)],
        f"{train}.3.transforms.1.1.crop_size": (40, 56),
        f"{train}.3.transforms.1.2.scales": [(64, 64), (80, 80)],
        "optim_wrapper.type": "OptimWrapper",  # mixed precision wants a GPU
    }


@pytest.mark.parametrize(
    "leaf",
    [
        "coco_detection/mask-rcnn_swin-t_fpn_8xb2-1x_coco.py",
        "coco_detection/mask-rcnn_swin-t_fpn_8xb2-3x_coco.py",
    ],
)
def test_values_mask_rcnn_runs_on_shapes(leaf: str, shapes: Path, tmp_path: Path) -> None:
    config, weights = ready_config(tmp_path, leaf)
    runner = transfer.run(config, tmp_path / "run", detection_options(shapes, leaf))
    assert runner.iter == 3
    assert_trained_from(tmp_path / "run", runner.model, weights)
    for key in ("coco/bbox_mAP", "coco/segm_mAP"):
        assert -1 <= runner.message_hub.get_scalar(f"val/{key}").current() <= 1


@pytest.mark.parametrize(
    "leaf",
    [
        "ade20k_segmentation/upernet_swin-t_8xb2-160k_ade20k-512x512.py",
        "voc_segmentation/upernet_swin-t_4xb4-20k_voc12aug-512x512.py",
        "voc_segmentation/fcn_swin-t_4xb4-20k_voc12aug-512x512.py",
    ],
)
def test_values_segmenters_run_on_shapes(leaf: str, shapes: Path, tmp_path: Path) -> None:
    config, weights = ready_config(tmp_path, leaf)
    ade = leaf.startswith("ade20k")
    classes = 12 if ade else 13
    options = transfer.ade_on_shapes(shapes) if ade else transfer.voc_masks_on_shapes(shapes)
    options |= {
        "train_cfg.max_iters": 3,
        "train_cfg.val_interval": 3,
        "param_scheduler.0.start_factor": 1.0,
        "model.data_preprocessor.size": (64, 64),
        "model.decode_head.num_classes": classes,
        "model.auxiliary_head.num_classes": classes,
        "val_dataloader.dataset.pipeline.1.scale": (128, 64),
    }
    if "upernet" in leaf:
        options["model.decode_head.channels"] = 32
    for dataset in ("dataset",) if ade else ("dataset.datasets.0", "dataset.datasets.1"):
        pipeline = f"train_dataloader.{dataset}.pipeline"
        options[f"{pipeline}.2.scale"] = (128, 64)
        options[f"{pipeline}.3.crop_size"] = (64, 64)
        if not ade:
            options[f"{pipeline}.6.size"] = (64, 64)
    runner = transfer.run(config, tmp_path / "run", options)
    assert runner.iter == 3
    assert_trained_from(tmp_path / "run", runner.model, weights)
    assert 0 <= runner.message_hub.get_scalar("val/mIoU").current() <= 100
