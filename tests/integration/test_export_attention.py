"""LR-Net and ResNets with attention blocks in ready configs of mmdet and mmseg: that network, or none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS as ROOT_MODELS
from torch import nn

from mmssl.convert.downstream_backbone import backbone_changes
from mmssl.convert.downstream_config import write_downstream_config
from mmssl.convert.export import Export, export_backbone
from mmssl.convert.transfer_load import load_backbone_into
from mmssl.engine.config import load_config
from mmssl.registry import MODELS

pytestmark = [pytest.mark.integration, pytest.mark.downstream]
BENCHMARKS = Path(__file__).resolve().parents[2] / "configs/benchmarks"
FPN = BENCHMARKS / "coco_detection/mask-rcnn_r50-fpn_8xb2-1x_coco.py"
C4 = BENCHMARKS / "coco_detection/mask-rcnn_r50-c4_8xb2-1x_coco.py"
FCN = BENCHMARKS / "voc_segmentation/fcn_r50-d8_4xb4-20k_voc12aug-512x512.py"
IMPORTS = ["mmssl.downstream.attention_plugins"]
LR = dict(
    type="LRNet", depth=(1, 1, 1, 1), widths=(8,) * 4, shares=(4,) * 4, kernel_size=3, prior="table"
)
SIZE = (64, 96)


@pytest.fixture(autouse=True, scope="module")
def libraries() -> None:
    for name in ("mmdet", "mmseg"):
        pytest.importorskip(name)
    import mmssl.downstream.attention_plugins  # noqa: F401


def resnet(depth: int, stages: tuple[bool, ...], **options) -> dict:
    """With a global context block and a DNL block behind each other."""
    position = "after_conv2"
    kinds = (("GCBlock", dict(ratio=0.25)), ("DNLBlock", dict(reduction=4)))
    plugins = [
        dict(cfg=dict(type=kind, **more), position=position, stages=stages) for kind, more in kinds
    ]
    return dict(type="ResNet", depth=depth, plugins=plugins, **options)


def exported(tmp_path: Path, backbone: dict, library: str) -> tuple[Export, dict]:
    """The export of a run with random numbers, and the backbone's tensors."""
    torch.manual_seed(0)
    network = MODELS.build(dict(backbone))
    for name, value in network.state_dict().items():
        if value.is_floating_point() and not name.endswith("running_var"):
            nn.init.normal_(value, std=0.05)
    state = network.state_dict()
    config = dict(model=dict(type="MoCo", backbone=backbone), custom_imports=dict(imports=IMPORTS))
    weights = {f"backbone.{key}": value for key, value in state.items()}
    meta = dict(cfg=Config(config).pretty_text, epoch=3, iter=9)
    torch.save(dict(meta=meta, state_dict=weights), tmp_path / "run.pth")
    out = tmp_path / "out.pth"
    return export_backbone(tmp_path / "run.pth", out, to=library, image_size=SIZE), state


def inherited(tmp_path: Path, base: str, **backbone) -> Path:
    """A config of somebody else's that changes the backbone of a packaged one."""
    path = tmp_path / "leaf.py"
    text = Config(dict(model=dict(backbone=backbone))).pretty_text if backbone else ""
    path.write_text(f"_base_ = {base!r}\ndefault_scope = {base.split('::')[0]!r}\n{text}")
    return path


def ready_model(config: Config, state: dict) -> nn.Module:
    """The model of a ready config, which must take every pretrained tensor."""
    model = ROOT_MODELS.build(ConfigDict(config.model, _scope_=config.default_scope))
    parts = load_backbone_into(model, config.load_from).parts
    assert sum(len(report.matched) for report in parts.values()) == len(state)
    taken = model.backbone.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in taken.items())
    return model.eval()


@pytest.mark.parametrize(
    ("library", "leaf", "backbone", "steps"),
    [
        ("mmdet", FPN, LR, (4, 8, 16, 32)),
        ("mmseg", FCN, LR, (4, 8, 8, 8)),
        ("mmdet", FPN, resnet(50, (False, False, True, True)), (4, 8, 16, 32)),
        ("mmseg", FCN, resnet(50, (False, False, True, True)), (4, 8, 8, 8)),
        ("mmdet", FPN, resnet(18, (False, True, False, True)), (4, 8, 16, 32)),
        ("mmseg", FCN, resnet(18, (False, True, False, True)), (4, 8, 8, 8)),
        ("mmdet", C4, resnet(50, (False, False, True, False)), (16,)),
    ],
    ids=["lr-fpn", "lr-fcn", "r50-fpn", "r50-fcn", "r18-fpn", "r18-fcn", "r50-c4"],
)
def test_values_ready_config_is_the_pretrained_network(tmp_path, library, leaf, backbone, steps):
    """Every tensor arrives, and maps have the strides that the config's heads are made for."""
    export, state = exported(tmp_path, backbone, library)
    config = load_config(write_downstream_config(export, leaf))
    model = ready_model(config, state)
    images = torch.randn(1, 3, *SIZE)
    maps = model.backbone(images)
    assert tuple(SIZE[0] // each.shape[2] for each in maps) == steps
    if steps[-1] == 32:  # nothing dilated, nothing dropped
        for ours, theirs in zip(export.backbone(images), maps, strict=True):
            torch.testing.assert_close(ours, theirs)
    if library == "mmseg":
        scores = model.encode_decode(images, [dict(img_shape=SIZE)])
        assert scores.shape == (1, 21, *SIZE)
    # the fine-tuning is the config's
    assert config.model.backbone.norm_cfg.type == "SyncBN"
    assert config.model.backbone.norm_eval is False


def test_values_ready_config_imports_what_its_network_needs(tmp_path):
    """Our ResNet-18 has the GCBlock that the run has imported; a plain ResNet needs nothing of the run's."""
    export, _ = exported(tmp_path, resnet(18, (False, True, False, False)), "mmdet")
    theirs = load_config(FPN).custom_imports.imports
    ready = load_config(write_downstream_config(export, FPN))
    assert ready.custom_imports.imports == [*theirs, *IMPORTS]
    plain, _ = exported(tmp_path, dict(type="ResNet", depth=18), "mmdet")
    ready = load_config(write_downstream_config(plain, FPN))
    assert ready.custom_imports.imports == theirs
    lr, _ = exported(tmp_path, LR, "mmdet")
    ready = load_config(write_downstream_config(lr, FPN))
    assert set(IMPORTS) < set(ready.custom_imports.imports)


def test_values_another_resnet_keeps_its_fine_tuning_and_strides(tmp_path):
    """mmseg's own recipes have ResNetV1c, dilated; the plain network takes its place, and nothing else."""
    export, state = exported(tmp_path, dict(type="ResNet", depth=50), "mmseg")
    leaf = inherited(tmp_path, "mmseg::fcn/fcn_r50-d8_4xb4-20k_voc12aug-512x512.py")
    config = load_config(write_downstream_config(export, leaf))
    backbone = config.model.backbone
    assert (backbone.type, backbone.depth) == ("mmseg.ResNet", 50)
    assert backbone.norm_cfg.type == "SyncBN" and backbone.contract_dilation
    assert config.model.pretrained is None  # it was another network's
    model = ready_model(config, state)
    assert [m.shape[2] for m in model.backbone(torch.zeros(1, 3, *SIZE))] == [16, 8, 8, 8]
    dense = MODELS.build(dict(type="ResNet", depth=50, output_stride=8)).eval()
    dense.load_state_dict(state)
    images = torch.randn(1, 3, *SIZE)
    for ours, theirs in zip(dense(images), model.backbone(images), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_values_strides_inside_a_block_are_the_pretrained_ones(tmp_path):
    """Of a config of Caffe's ResNet, whose blocks have their stride one convolution earlier."""
    export, state = exported(tmp_path, dict(type="ResNet", depth=50), "mmdet")
    leaf = inherited(tmp_path, "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py", style="caffe")
    config = load_config(write_downstream_config(export, leaf))
    assert config.model.backbone.init_cfg is None
    model = ready_model(config, state)
    images = torch.randn(1, 3, *SIZE)
    for ours, theirs in zip(export.backbone(images), model.backbone(images), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("norm", "expected"),
    [
        (dict(type="BN", eps=1e-3), dict(type="SyncBN", eps=1e-3)),
        (dict(type="GN", num_groups=4), dict(type="GN", num_groups=4)),
    ],
    ids=["epsilon", "groups"],
)
def test_values_norms_of_another_kind_of_network(tmp_path, norm, expected):
    """In the place of a Swin: its LayerNorm is nothing for LR-Net, whose own norms stay what they are."""
    export, state = exported(tmp_path, LR | dict(norm_cfg=norm), "mmdet")
    leaf = BENCHMARKS / "coco_detection/mask-rcnn_swin-t_fpn_8xb2-1x_coco.py"
    config = load_config(write_downstream_config(export, leaf))
    assert dict(config.model.backbone.norm_cfg) == expected
    ready_model(config, state)


@pytest.mark.parametrize(
    ("library", "chosen", "kind"),
    [
        ("mmdet", slice(0, 2), "mmdet.ResNet"),
        ("mmseg", slice(0, 1), "mmseg.ResNet"),
        ("mmseg", slice(0, 2), "mmssl.ResNet"),
    ],
)
def test_values_two_plugins_behind_each_other_are_ours_in_mmseg(tmp_path, library, chosen, kind):
    """mmseg's ResNet gives the second what the first was given, not what it returns."""
    backbone = resnet(50, (False, True, False, False))
    backbone["plugins"] = backbone["plugins"][chosen]
    assert exported(tmp_path, backbone, library)[0].metadata["build"]["type"] == kind


def test_raises_plugins_in_the_stage_of_a_c4_head(tmp_path):
    export, _ = exported(tmp_path, resnet(50, (False, False, False, True)), "mmdet")
    with pytest.raises(ValueError, match="plugins in later ones .ContextBlock, DNLBlock."):
        write_downstream_config(export, C4)
    assert not (tmp_path / "out.py").exists()


def test_raises_plugins_that_nobody_pretrained(tmp_path):
    export, _ = exported(tmp_path, dict(type="ResNet", depth=50), "mmdet")
    plugins = resnet(50, (False, False, True, True))["plugins"][1:]
    leaf = inherited(tmp_path, "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py", plugins=plugins)
    with pytest.raises(ValueError, match="plugins, which the pretrained one has no weights for"):
        write_downstream_config(export, leaf)


@pytest.mark.parametrize(
    "backbone", [LR, resnet(18, (False, True, False, False))], ids=["lr", "r18"]
)
def test_raises_c4_of_another_network(tmp_path, backbone):
    export, _ = exported(tmp_path, backbone, "mmdet")
    with pytest.raises(ValueError, match="C4 detector splits a plain ResNet"):
        write_downstream_config(export, C4)


@pytest.mark.parametrize("kind", ["ResNeXt", "Res2Net", "RegNet", "SwinTransformer"])
def test_state_norms_in_the_place_of_each_kind(tmp_path, kind):
    """mmdet's ResNets keep their statistics by default; a transformer has no BatchNorm to fine-tune like."""
    export, _ = exported(tmp_path, LR, "mmdet")
    changes = backbone_changes(export, dict(type=kind, out_indices=(0, 1, 2, 3)))
    is_resnet = kind != "SwinTransformer"
    assert changes["norm_cfg"] == dict(type="BN" if is_resnet else "SyncBN")
    assert changes.get("norm_eval", False) is is_resnet


def test_state_a_config_of_the_same_network_keeps_its_options(tmp_path):
    export, _ = exported(tmp_path, LR | dict(drop_path_rate=0.5), "mmdet")
    own = dict(type="mmssl.LRNet", depth=26, out_indices=(0, 1, 2, 3))
    chosen = dict(with_cp=True, drop_path_rate=0.1, frozen_stages=1, norm_eval=True)
    changes = backbone_changes(export, own | chosen)
    assert changes["depth"] == (1, 1, 1, 1) and changes["kernel_size"] == 3
    assert {name: changes[name] for name in chosen} == chosen


def test_raises_fewer_maps_than_the_head_reads(tmp_path):
    export, _ = exported(tmp_path, LR | dict(out_indices=(2,)), "mmseg")
    with pytest.raises(ValueError, match="decode_head reads map 3 .from 0. .* one has 3"):
        write_downstream_config(export, FCN)


def test_raises_fewer_stages_than_another_resnet(tmp_path):
    export, _ = exported(tmp_path, dict(type="ResNet", depth=18, out_indices=(2,)), "mmseg")
    leaf = inherited(tmp_path, "mmseg::fcn/fcn_r50-d8_4xb4-20k_voc12aug-512x512.py")
    with pytest.raises(ValueError, match="has 4 stages, the pretrained one 3"):
        write_downstream_config(export, leaf)


@pytest.mark.parametrize("depth", [50, 18])
def test_raises_a_list_of_heads_for_other_channels(tmp_path, depth):
    """OCRNet has two decode heads: of ResNet-50's channels, which a config that inherits cannot change."""
    export, _ = exported(tmp_path, dict(type="ResNet", depth=depth), "mmseg")
    leaf = inherited(tmp_path, "mmseg::ocrnet/ocrnet_r101-d8_4xb2-40k_cityscapes-512x1024.py")
    if depth == 18:
        with pytest.raises(ValueError, match="several decode_heads for maps of other channels"):
            write_downstream_config(export, leaf)
        return
    heads = load_config(write_downstream_config(export, leaf)).model.decode_head
    assert [head.in_channels for head in heads] == [1024, 2048]


@pytest.mark.parametrize("strides", [(1, 1, 2, 2), (1, 2, 1, 2)])
def test_raises_strides_that_come_back(tmp_path, strides):
    export, _ = exported(tmp_path, LR, "mmdet")
    base = "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py"
    with pytest.raises(ValueError, match="keep the stride of an early stage"):
        write_downstream_config(export, inherited(tmp_path, base, strides=strides))
