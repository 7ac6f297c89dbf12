"""Exported backbones in mmdet and mmseg: equal features, complete loads, ready configs that build."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS as ROOT_MODELS

from mmssl.convert.downstream_config import write_downstream_config
from mmssl.convert.export import export_backbone
from mmssl.convert.transfer_load import load_backbone_into
from mmssl.downstream.preflight import input_faults
from mmssl.engine.config import load_config
from mmssl.registry import MODELS

pytestmark = pytest.mark.integration
BENCHMARKS = Path(__file__).resolve().parents[2] / "configs" / "benchmarks"
FPN = BENCHMARKS / "coco_detection" / "mask-rcnn_r50-fpn_8xb2-1x_coco.py"
C4 = BENCHMARKS / "coco_detection" / "mask-rcnn_r50-c4_8xb2-1x_coco.py"
FCN = BENCHMARKS / "voc_segmentation" / "fcn_r50-d8_4xb4-20k_voc12aug-512x512.py"


def run_checkpoint(path: Path, backbone: dict, **others: Any) -> dict[str, torch.Tensor]:
    """A checkpoint of a run, and the backbone's tensors in it."""
    torch.manual_seed(0)
    state = MODELS.build(dict(backbone)).state_dict()
    text = Config(dict(model=dict(type="CARE", backbone=backbone, **others))).pretty_text
    torch.save(
        dict(
            meta=dict(cfg=text, epoch=3, iter=9),
            state_dict={f"backbone.{k}": v for k, v in state.items()},
        ),
        path,
    )
    return state


@pytest.mark.parametrize("library", ["mmdet", "mmseg"])
@pytest.mark.parametrize("norm", ["BN", "SyncBN"])
def test_equivalence_resnet_in_the_real_library(tmp_path, library, norm):
    pytest.importorskip(library)
    backbone = dict(type="mmssl.ResNet", depth=18, norm_cfg=dict(type=norm), out_indices=(3,))
    state = run_checkpoint(tmp_path / "run.pth", backbone)
    out = tmp_path / "out.pth"
    export = export_backbone(tmp_path / "run.pth", out, to=library, image_size=(64, 96))
    assert export.metadata["verified_with"] == library
    assert export.metadata["max_difference"] <= 1e-6 * export.metadata["max_feature"]

    # the two lines of a user, without anything of ours
    init_cfg = dict(type="Pretrained", checkpoint=str(out), prefix="backbone.")
    network = ROOT_MODELS.build(dict(export.metadata["build"], init_cfg=init_cfg))
    network.init_weights()
    assert set(network.state_dict()) == set(state)
    assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())


def test_equivalence_three_stages_in_mmdet(tmp_path):
    pytest.importorskip("mmdet")
    state = run_checkpoint(
        tmp_path / "run.pth", dict(type="mmssl.ResNet", depth=18, out_indices=(2,))
    )
    export = export_backbone(
        tmp_path / "run.pth", tmp_path / "out.pth", to="mmdet", image_size=(64, 64)
    )
    assert export.metadata["build"]["num_stages"] == 3
    network = ROOT_MODELS.build(dict(export.metadata["build"]))
    assert set(network.state_dict()) == set(state)


@pytest.mark.parametrize(
    ("library", "leaf", "backbone", "loaded"),
    [
        ("mmdet", FPN, dict(type="mmssl.ResNet", depth=18), {"backbone": 120}),
        ("mmdet", FPN, dict(type="mmssl.TimmBackbone", name="test_convnext"), {"backbone": None}),
        ("mmseg", FCN, dict(type="mmssl.ResNet", depth=18), {"backbone": 120}),
        ("mmseg", FCN, dict(type="mmssl.ResNet", depth=18, stem="cifar"), {"backbone": 120}),
        (
            "mmdet",
            C4,
            dict(type="mmssl.ResNet", depth=50),
            {"backbone": 258, "roi_head.shared_head": 60},
        ),
        (
            "mmdet",
            C4,
            dict(type="mmssl.ResNet", depth=18),
            {"backbone": 90, "roi_head.shared_head": 30},
        ),
    ],
    ids=["fpn-r18", "fpn-timm", "fcn-r18", "fcn-cifar", "c4-r50", "c4-r18"],
)
def test_values_ready_config_builds_and_takes_every_weight(
    tmp_path, library, leaf, backbone, loaded
):
    pytest.importorskip(library)
    state = run_checkpoint(tmp_path / "run.pth", backbone)
    export = export_backbone(
        tmp_path / "run.pth", tmp_path / "out.pth", to=library, image_size=(64, 64)
    )
    config = load_config(write_downstream_config(export, leaf))
    assert config.load_from == str(export.path.resolve())
    model = ROOT_MODELS.build(ConfigDict(config.model, _scope_=config.default_scope))
    parts = load_backbone_into(model, config.load_from).parts
    tensors = {name: len(report.matched) for name, report in parts.items()}
    expected = {k: v or len(state) for k, v in loaded.items()}
    assert tensors == expected
    assert sum(tensors.values()) == len(state)
    weights = model.backbone.state_dict()
    assert all(torch.equal(weights[k], state[k]) for k in weights)
    maps = model.eval().extract_feat(torch.zeros(1, 3, 64, 64))
    if "neck" in config.model:
        assert len(maps) == config.model.neck.num_outs
    if leaf == C4:
        model.rpn_head(maps)
        regions = model.roi_head.shared_head(torch.zeros(2, maps[0].shape[1], 14, 14))
        scores, _ = model.roi_head.bbox_head(regions)
        assert scores.shape == (2, 81)
        assert model.roi_head.mask_head(regions).shape == (2, 80, 14, 14)
    if library == "mmseg":
        assert model.encode_decode(torch.zeros(1, 3, 64, 64), [dict(img_shape=(64, 64))]).shape == (
            1,
            21,
            64,
            64,
        )


@pytest.mark.parametrize(
    ("others", "written"),
    [
        ({}, {}),
        (dict(data_preprocessor=dict(type="ViewPreprocessor")), {}),
        (
            dict(data_preprocessor=dict(mean=[0.0] * 3, std=[255.0] * 3)),
            dict(mean=[0.0] * 3, std=[255.0] * 3),
        ),
        (
            dict(data_preprocessor=dict(std=[58.14, 57.12, 57.375])),
            dict(std=[58.14, 57.12, 57.375]),
        ),
    ],
)
def test_values_ready_config_normalises_as_the_pretraining(tmp_path, others, written):
    """SimCLR pretrains on pixels of 0 to 1: a detector that is given others would not start."""
    pytest.importorskip("mmdet")
    run_checkpoint(tmp_path / "run.pth", dict(type="mmssl.ResNet", depth=18), **others)
    export = export_backbone(
        tmp_path / "run.pth", tmp_path / "out.pth", to="mmdet", image_size=(64, 64)
    )
    path = write_downstream_config(export, FPN)
    assert ("data_preprocessor" in path.read_text()) == bool(written)
    found = load_config(path).model.data_preprocessor
    assert found == load_config(FPN).model.data_preprocessor | written
    assert not input_faults(ROOT_MODELS.build(dict(found, _scope_="mmdet")), export.metadata)


def test_raises_c4_needs_a_plain_resnet(tmp_path):
    pytest.importorskip("mmdet")
    run_checkpoint(tmp_path / "run.pth", dict(type="mmssl.ResNet", depth=18, stem="cifar"))
    export = export_backbone(
        tmp_path / "run.pth", tmp_path / "out.pth", to="mmdet", image_size=(64, 64)
    )
    with pytest.raises(ValueError, match="C4"):
        write_downstream_config(export, C4)
    assert not (tmp_path / "out.py").exists()


def test_raises_rather_than_overwrite_somebodys_config(tmp_path):
    pytest.importorskip("mmdet")
    run_checkpoint(tmp_path / "run.pth", dict(type="mmssl.ResNet", depth=18))
    own = tmp_path / "out.py"
    own.write_text(f"_base_ = {str(FPN)!r}\n")
    export = export_backbone(
        tmp_path / "run.pth", tmp_path / "out.pth", to="mmdet", image_size=(64, 64)
    )
    with pytest.raises(ValueError, match=r"out\.py exists and was not written by this tool"):
        write_downstream_config(export, own)
    assert own.read_text() == f"_base_ = {str(FPN)!r}\n"
    own.unlink()
    first = write_downstream_config(export, FPN).read_text()
    assert write_downstream_config(export, FPN).read_text() == first


def test_raises_config_for_a_library_without_configs(tmp_path):
    run_checkpoint(tmp_path / "run.pth", dict(type="mmssl.ResNet", depth=18))
    export = export_backbone(
        tmp_path / "run.pth", tmp_path / "out.pth", to="timm", image_size=(64, 64)
    )
    with pytest.raises(ValueError, match="mmdet or mmseg"):
        write_downstream_config(export, FPN)


def test_state_pretrained_backbone_from_our_export_in_mmdets_backbone(tmp_path):
    pytest.importorskip("mmdet")
    state = run_checkpoint(tmp_path / "run.pth", dict(type="mmssl.ResNet", depth=18))
    init_cfg = dict(type="mmssl.PretrainedBackbone", checkpoint=str(tmp_path / "run.pth"))
    network = MODELS.build(dict(type="mmdet.ResNet", depth=18, style="pytorch", init_cfg=init_cfg))
    network.init_weights()
    assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())
