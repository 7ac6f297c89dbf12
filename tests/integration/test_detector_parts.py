"""FPN and towers of a pretraining arrive in mmdet's detectors completely, or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import RUNNERS
from mmengine.runner import load_checkpoint

from mmssl.convert.downstream_config import write_downstream_config
from mmssl.convert.export import export_backbone
from mmssl.convert.part_settings import neck_settings, tower_settings
from mmssl.convert.pretrained_pyramid import PARTS
from mmssl.convert.transfer_load import load_backbone_into
from mmssl.engine.config import load_config
from mmssl.registry import MODELS
from tests.helpers import transfer
from tools import export_backbone as export_tool

pytest.importorskip("mmdet")
pytestmark = [pytest.mark.integration, pytest.mark.downstream]

BENCHMARKS = transfer.BENCHMARKS
CONFIGS = BENCHMARKS.parent
EXTRA = dict(
    in_channels=[64, 128, 256, 512], out_channels=32, start_level=1, num_outs=5,
    add_extra_convs="on_output", relu_before_extra_convs=True,
)  # fmt: skip
POOLED = dict(in_channels=[64, 128, 256, 512], out_channels=32, num_outs=5)
SIZE = (64, 128)
TRUNK = dict(type="mmdet.ResNet", depth=18, style="pytorch", init_cfg=None)


def write_run(path: Path, fpn: dict, towers: dict | None = None, **pyramid) -> dict:
    """A checkpoint of PixPro as a run of ours writes it; the twin has other weights. Its state dict."""
    torch.manual_seed(0)
    model = dict(
        type="mmssl.PixPro",
        backbone=dict(type="mmssl.ResNet", depth=18),
        pyramid=dict(
            type="DetectorPyramid", neck=dict(type="mmdet.FPN", **fpn), towers=towers, **pyramid
        ),
        neck=dict(hid_channels=16, out_channels=8),
        head=dict(),
    )
    state = MODELS.build(model).state_dict()
    for name, tensor in state.items():
        if name.startswith("twin.") and tensor.is_floating_point():
            tensor.add_(0.01)
    text = Config(dict(model=model)).pretty_text
    torch.save(dict(meta=dict(cfg=text, epoch=1, iter=1), state_dict=state), path)
    return state


def fcos(**changes) -> torch.nn.Module:
    return ROOT_MODELS.build(
        ConfigDict(
            type="mmdet.FCOS",
            _scope_="mmdet",
            backbone=TRUNK,
            neck=dict(type="FPN", **(EXTRA | changes.pop("neck", {}))),
            bbox_head=dict(
                type="FCOSHead", num_classes=3, in_channels=32, feat_channels=32,
                strides=[8, 16, 32, 64, 128], **changes,
            ),
        )
    )  # fmt: skip


def faster_rcnn(mask: bool = False) -> torch.nn.Module:
    leaf = "mask_rcnn/mask-rcnn" if mask else "faster_rcnn/faster-rcnn"
    model = Config.fromfile(mmdet_config(f"{leaf}_r50_fpn_1x_coco.py")).model
    model.backbone = dict(TRUNK)
    model.neck.update(POOLED)
    model.rpn_head.update(in_channels=32, feat_channels=32)
    model.roi_head.bbox_roi_extractor.out_channels = 32
    model.roi_head.bbox_head.update(in_channels=32, fc_out_channels=16)
    if mask:
        model.roi_head.mask_roi_extractor.out_channels = 32
        model.roi_head.mask_head.update(in_channels=32, conv_out_channels=16)
    return ROOT_MODELS.build(ConfigDict(model, _scope_="mmdet"))


def retinanet() -> torch.nn.Module:
    model = Config.fromfile(mmdet_config("retinanet/retinanet_r50_fpn_1x_coco.py")).model
    model.backbone = dict(TRUNK)
    neck = dict(EXTRA, add_extra_convs="on_input", relu_before_extra_convs=False)
    model.neck.update(neck)
    model.bbox_head.update(in_channels=32, feat_channels=32)
    return ROOT_MODELS.build(ConfigDict(model, _scope_="mmdet"))


def mmdet_config(name: str) -> str:
    import mmdet

    return str(Path(mmdet.__file__).parent / ".mim" / "configs" / name)


def prefixed(state: dict, prefix: str) -> dict:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


@pytest.mark.parametrize("branch", ["online", "twin"])
def test_values_fcos_takes_trunk_fpn_and_towers(tmp_path, branch):
    state = write_run(tmp_path / "run.pth", EXTRA, towers=dict())
    parts = ("backbone", "neck", "bbox_head")
    export = export_backbone(
        tmp_path / "run.pth", tmp_path / "out.pth", to="mmdet", parts=parts, branch=branch,
        image_size=SIZE,
    )  # fmt: skip
    assert (
        export.metadata["max_pyramid_difference"] <= 1e-6 * export.metadata["max_pyramid_feature"]
    )
    assert export.more_parts == ()
    model = fcos()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    loaded = load_backbone_into(model, tmp_path / "out.pth")
    counts = {name: len(report.matched) for name, report in loaded.parts.items()}
    assert counts == {"backbone": 120, "neck": 14, "bbox_head": 24}
    assert all(report.missing == report.mismatched == () for report in loaded.parts.values())
    assert loaded.parts["neck"].unexpected == loaded.parts["bbox_head"].unexpected == ()
    assert set(loaded.parts["neck"].fresh) == {"fpn_convs.4.conv.weight", "fpn_convs.4.conv.bias"}
    assert "conv_cls.weight" in loaded.parts["bbox_head"].fresh
    pretrained = prefixed(state, "twin." if branch == "twin" else "")
    names = prefixed(pretrained, "backbone."), prefixed(pretrained, "pyramid.")
    wanted = {f"backbone.{k}": v for k, v in names[0].items()} | names[1]
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, wanted.get(name, before[name])), name
    assert set(wanted) <= set(model.state_dict())
    record = loaded.record()
    assert record["tensors"] == counts and record["meta"]["parts"]["neck"]["levels"] == [3, 4, 5, 6]


@torch.no_grad()
def test_equivalence_maps_of_the_detector_are_those_of_pretraining(tmp_path):
    write_run(tmp_path / "run.pth", EXTRA, towers=dict())
    model = MODELS.build(torch_config(tmp_path / "run.pth")).eval()
    model.load_state_dict(torch.load(tmp_path / "run.pth")["state_dict"])
    export_backbone(
        tmp_path / "run.pth", tmp_path / "out.pth", to="mmdet", image_size=SIZE,
        parts=("backbone", "neck", "bbox_head"),
    )  # fmt: skip
    detector = fcos().eval()
    load_backbone_into(detector, tmp_path / "out.pth")
    torch.manual_seed(1)
    image = torch.randn(2, 3, 96, 128)
    ours, theirs = model.pyramid(model.backbone(image)), detector.extract_feat(image)
    assert len(ours) == 8 and len(theirs) == 5
    for level in range(4):
        for tower, x in (("cls", ours[level]), ("reg", ours[level + 4])):
            y = theirs[level]
            for conv in detector.bbox_head.get_submodule(f"{tower}_convs"):
                y = conv(y)
            assert float((x - y).abs().max()) <= 1e-6 * float(x.abs().max()), (level, tower)


def torch_config(path: Path) -> dict:
    return Config.fromstring(torch.load(path)["meta"]["cfg"], ".py").model


@pytest.mark.parametrize("mask", [False, True], ids=["faster", "mask"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_values_two_stage_detectors_take_trunk_and_fpn(tmp_path, mask, suffix):
    state = write_run(tmp_path / "run.pth", POOLED)
    out = tmp_path / f"out{suffix}"
    export_backbone(
        tmp_path / "run.pth", out, to="mmdet", parts=("backbone", "neck"), image_size=SIZE
    )
    model = faster_rcnn(mask)
    loaded = load_backbone_into(model, out)
    assert len(loaded.parts["neck"].matched) == 12
    assert {n.split(".conv")[0] for n in loaded.parts["neck"].fresh} == {
        "lateral_convs.0", "fpn_convs.0",
    }  # fmt: skip
    wanted = prefixed(state, "pyramid.neck.")
    assert all(torch.equal(model.neck.state_dict()[k], v) for k, v in wanted.items())
    assert loaded.meta["parts"]["neck"]["settings"]["num_outs"] == 5


def test_values_retinanet_takes_its_own_settings(tmp_path):
    fpn = dict(EXTRA, add_extra_convs="on_input", relu_before_extra_convs=False)
    state = write_run(tmp_path / "run.pth", fpn, towers=dict(norm_cfg=None))
    export_backbone(
        tmp_path / "run.pth", tmp_path / "out.pth", to="mmdet", image_size=SIZE,
        parts=("backbone", "neck", "bbox_head"),
    )  # fmt: skip
    model = retinanet()
    loaded = load_backbone_into(model, tmp_path / "out.pth")
    assert len(loaded.parts["bbox_head"].matched) == 16
    wanted = prefixed(state, "pyramid.")
    assert all(torch.equal(model.state_dict()[k], v) for k, v in wanted.items())


def test_values_mmdet_alone_loads_the_file(tmp_path):
    state = write_run(tmp_path / "run.pth", EXTRA, towers=dict(branches=("reg",)))
    export_backbone(
        tmp_path / "run.pth", tmp_path / "out.pth", to="mmdet", image_size=SIZE,
        parts=("backbone", "neck", "bbox_head"),
    )  # fmt: skip
    model = fcos()
    load_checkpoint(model, str(tmp_path / "out.pth"), strict=False)
    wanted = prefixed(state, "pyramid.")
    assert all(torch.equal(model.state_dict()[k], v) for k, v in wanted.items())
    fresh = load_backbone_into(fcos(), tmp_path / "out.pth").parts["bbox_head"].fresh
    assert "cls_convs.0.conv.weight" in fresh and "reg_convs.0.conv.weight" not in fresh


def test_values_a_trunk_without_c2_is_the_same_pyramid(tmp_path):
    fpn = dict(EXTRA, in_channels=[128, 256, 512], start_level=0)
    torch.manual_seed(0)
    model = dict(
        type="mmssl.PixPro",
        backbone=dict(type="mmssl.ResNet", depth=18, out_indices=(1, 2, 3)),
        pyramid=dict(type="mmssl.DetectorPyramid", neck=dict(type="mmdet.FPN", **fpn)),
        neck=dict(hid_channels=16, out_channels=8),
        head=dict(),
    )
    state = MODELS.build(model).state_dict()
    meta = dict(cfg=Config(dict(model=model)).pretty_text)
    torch.save(dict(meta=meta, state_dict=state), tmp_path / "run.pth")
    export_backbone(
        tmp_path / "run.pth", tmp_path / "out.pth", to="mmdet", parts=("backbone", "neck"),
        image_size=SIZE,
    )  # fmt: skip
    assert len(load_backbone_into(fcos(), tmp_path / "out.pth").parts["neck"].matched) == 14


@pytest.fixture
def exported(tmp_path):
    write_run(tmp_path / "run.pth", EXTRA, towers=dict())
    out = tmp_path / "out.pth"
    export_backbone(
        tmp_path / "run.pth", out, to="mmdet", image_size=SIZE,
        parts=("backbone", "neck", "bbox_head"),
    )  # fmt: skip
    return out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(neck=dict(add_extra_convs="on_input")), r"neck\.add_extra_convs is 'on_input', pretrain"),
        (dict(neck=dict(relu_before_extra_convs=False)), r"neck\.relu_before_extra_convs is False"),
        (dict(neck=dict(norm_cfg=dict(type="BN"))), r"neck\.norm_cfg is 'BN', pretrained with None"),
        (dict(neck=dict(start_level=0)), r"neck\.in_channels is \[64, .*\], pretrained with \[128"),
        (dict(neck=dict(num_outs=4)), r"neck\.num_outs is 4, pretrained with 5"),
        (dict(stacked_convs=2), r"bbox_head\.stacked_convs is 2, pretrained with 4"),
        (dict(norm_cfg=None), r"bbox_head\.norm_cfg is None, pretrained with 'GN of 32 groups'"),
    ],
)  # fmt: skip
def test_raises_settings_of_the_detector_differ(exported, changes, message):
    model = fcos(**changes)
    before = model.bbox_head.cls_convs[0].conv.weight.clone()
    with pytest.raises(ValueError, match=message):
        load_backbone_into(model, exported)
    assert torch.equal(model.bbox_head.cls_convs[0].conv.weight, before)


def test_raises_no_place_for_a_part(exported):
    two_stage = faster_rcnn()
    two_stage.neck = fcos().neck
    match = r"pretrained bbox_head, for which this FasterRCNN has no place[\s\S]*backbone neck"
    with pytest.raises(ValueError, match=match):
        load_backbone_into(two_stage, exported)
    model = fcos()
    del model.neck
    with pytest.raises(ValueError, match="pretrained neck, for which this FCOS has no place"):
        load_backbone_into(model, exported)


def test_raises_a_tensor_is_missing(exported):
    content = torch.load(exported)
    del content["state_dict"]["neck.lateral_convs.1.conv.bias"]
    torch.save(content, exported)
    with pytest.raises(ValueError, match=r"missing: lateral_convs\.1\.conv\.bias"):
        load_backbone_into(fcos(), exported)


def test_raises_a_run_is_no_export(exported):
    with pytest.raises(ValueError, match=r"reaches a detector by an export only[\s\S]*--parts"):
        load_backbone_into(fcos(), exported.with_name("run.pth"))


def test_values_a_network_without_fpn_takes_the_trunk_of_a_run(exported):
    """A segmenter, whose other parts mmdet's export could not serve anyway."""
    segmenter = torch.nn.Module()
    segmenter.backbone = ROOT_MODELS.build(dict(TRUNK))
    segmenter.decode_head = torch.nn.Conv2d(512, 3, 1)
    state = torch.load(exported.with_name("run.pth"))["state_dict"]
    loaded = load_backbone_into(segmenter, exported.with_name("run.pth"))
    assert len(loaded.parts["backbone"].matched) == 120
    for name, tensor in segmenter.backbone.state_dict().items():
        assert torch.equal(tensor, state[f"backbone.{name}"]), name


def test_values_the_trunk_alone_is_the_default_and_says_what_is_left(tmp_path):
    write_run(tmp_path / "run.pth", EXTRA, towers=dict())
    export = export_backbone(
        tmp_path / "run.pth", tmp_path / "out.pth", to="mmdet", image_size=SIZE
    )
    assert export.more_parts == ("neck", "bbox_head")
    assert "parts" not in export.metadata
    loaded = load_backbone_into(fcos(), tmp_path / "out.pth")
    assert list(loaded.parts) == ["backbone"]


@pytest.mark.parametrize(
    ("parts", "to", "message"),
    [
        (("neck",), "mmdet", "parts must be the backbone"),
        (("backbone", "head"), "mmdet", "parts must be the backbone"),
        (("backbone", "neck"), "mmseg", "to mmdet only"),
        (("backbone", "bbox_head"), "mmdet", "pretrained no bbox_head.*Export backbone neck"),
    ],
)
def test_raises_parts_that_cannot_be_exported(tmp_path, parts, to, message):
    write_run(tmp_path / "run.pth", EXTRA)
    with pytest.raises(ValueError, match=message):
        export_backbone(tmp_path / "run.pth", tmp_path / "out.pth", to=to, parts=parts)
    assert not (tmp_path / "out.pth").exists()


def test_raises_towers_without_their_fpn(tmp_path):
    write_run(tmp_path / "run.pth", EXTRA, towers=dict())
    with pytest.raises(ValueError, match="do not know"):
        export_backbone(
            tmp_path / "run.pth", tmp_path / "o.pth", to="mmdet", parts=("backbone", "bbox_head")
        )


@pytest.mark.parametrize(
    ("recipe", "leaf"),
    [
        ("resnet50-fpn_8xb128-coslr-100e_in1k", "coco_detection/mask-rcnn_r50-fpn_8xb2-1x_coco.py"),
        ("resnet50-fpn_8xb128-coslr-100e_in1k", "coco_detection/mask-rcnn_r50-fpn-4conv1fc_8xb2-90k_coco.py"),
        ("resnet50-fcos_8xb128-coslr-100e_in1k", "coco_detection/fcos_r50-fpn_8xb2-1x_coco.py"),
        ("resnet18-fpn_1xb32-coslr-4e_shapes", "shapes_detection/faster_rcnn_r18_fpn_shapes.py"),
        ("resnet18-fcos_1xb32-coslr-4e_shapes", "shapes_detection/fcos_r18_fpn_shapes.py"),
    ],
)  # fmt: skip
def test_values_recipes_pretrain_what_the_transfer_leaves_have(recipe, leaf):
    config = load_config(CONFIGS / "pixpro" / f"pixpro_{recipe}.py").model
    detector = load_config(BENCHMARKS / leaf).model
    with torch.device("meta"):
        pyramid = MODELS.build(ConfigDict(config.pyramid, _scope_="mmssl"))
        neck = ROOT_MODELS.build(ConfigDict(detector.neck, _scope_="mmdet"))
        assert neck_settings(pyramid.neck) == neck_settings(neck)
        if "fcos" in recipe:
            head = ROOT_MODELS.build(ConfigDict(detector.bbox_head, _scope_="mmdet"))
            towers = pyramid.bbox_head
            assert tower_settings(towers, ("cls", "reg")) == tower_settings(head, ("cls", "reg"))
    if "8xb128" in recipe:
        assert pyramid.levels == (3, 4, 5, 6)
        assert neck.num_outs == 5


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return transfer.draw_few(tmp_path_factory.mktemp("data") / "shapes")


@pytest.fixture(scope="module")
def pretrained(shapes, tmp_path_factory):
    """The checkpoint of two steps of the leaf that pretrains trunk, FPN and towers."""
    options = {
        "train_dataloader.dataset.root": str(shapes / "coco" / "train"),
        "train_dataloader.batch_size": 3,
        "train_dataloader.num_workers": 0,
        "train_dataloader.persistent_workers": False,
        "train_cfg.max_epochs": 1,
        "custom_hooks": [],
    }
    config = load_config(CONFIGS / "pixpro/pixpro_resnet18-fcos_1xb32-coslr-4e_shapes.py", options)
    folder = tmp_path_factory.mktemp("run")
    config.work_dir = config.experiment_name = str(folder)
    config.launcher, config.log_level, config.runner_type = "none", "WARNING", "mmssl.Runner"
    RUNNERS.build(config).train()
    return folder / "epoch_1.pth"


@pytest.mark.parametrize(
    ("leaf", "parts", "counts"),
    [
        ("fcos_r18_fpn_shapes.py", PARTS, dict(backbone=120, neck=48, bbox_head=12)),
        ("faster_rcnn_r18_fpn_shapes.py", PARTS[:2], dict(backbone=120, neck=48)),
    ],
    ids=["fcos", "faster"],
)
def test_values_pretrain_export_and_train_a_detector(
    shapes, pretrained, tmp_path, leaf, parts, counts
):
    out = tmp_path / "out.pth"
    export = export_backbone(pretrained, out, to="mmdet", parts=parts, image_size=SIZE)
    options = transfer.coco_on_shapes(shapes) | {
        "load_from": str(out),
        "train_cfg.max_iters": 1,
        "optim_wrapper.optimizer.lr": 0.0,
        "custom_hooks.1.num_iters": 1,
        "val_cfg": None,
        "val_dataloader": None,
        "val_evaluator": None,
    }
    runner = transfer.run(f"shapes_detection/{leaf}", tmp_path / "run", options)
    record = json.loads((tmp_path / "run" / "backbone.json").read_text())
    assert record["tensors"] == counts
    state = torch.load(pretrained)["state_dict"]
    for name, parameter in runner.model.named_parameters():
        part = name.split(".")[0]
        source = name if part == "backbone" else f"pyramid.{name}"
        if part in parts and "conv_" not in name and "scales" not in name:
            assert torch.equal(parameter, state[source]), name
    assert export.more_parts == tuple(part for part in PARTS if part not in parts)


def test_values_tool_says_what_was_compared_and_left(pretrained, tmp_path, monkeypatch, capsys):
    arguments = [
        str(pretrained),
        str(tmp_path / "out.pth"),
        "--to",
        "mmdet",
        "--parts",
        "backbone",
        "neck",
    ]
    monkeypatch.setattr("sys.argv", ["export_backbone.py", *arguments])
    export_tool.main()
    told = capsys.readouterr().out
    assert (
        "FPN and towers: Weights of " in told and "pyramid.*; online): 60 matched, 0 miss" in told
    )
    assert "Largest difference of the maps behind neck " in told
    assert "pretrained bbox_head too, not in the file: --parts backbone neck bbox_head" in told


def test_values_ready_config_of_the_detector_that_was_pretrained_for(pretrained, tmp_path):
    export = export_backbone(
        pretrained, tmp_path / "out.pth", to="mmdet", parts=PARTS, image_size=SIZE
    )
    leaf = BENCHMARKS / "shapes_detection/fcos_r18_fpn_shapes.py"
    config = load_config(write_downstream_config(export, leaf))
    assert config.load_from == str(export.path)
    model = ROOT_MODELS.build(ConfigDict(config.model, _scope_="mmdet"))
    assert list(load_backbone_into(model, config.load_from).parts) == list(PARTS)
    with pytest.raises(ValueError, match=r"neck and bbox_head .* no model\.bbox_head"):
        write_downstream_config(export, leaf.with_name("faster_rcnn_r18_fpn_shapes.py"))
    coco = BENCHMARKS / "coco_detection/fcos_r50-fpn_8xb2-1x_coco.py"
    with pytest.raises(ValueError, match=r"neck\.out_channels is 256, pretrained with 64"):
        write_downstream_config(export, coco)
