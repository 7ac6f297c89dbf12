"""Pretrained CoTNets in mmdet, mmseg and as features: equal maps, complete loads, ready configs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS as ROOT_MODELS
from torch import nn

from mmssl.convert.downstream_config import write_downstream_config
from mmssl.convert.export import export_backbone
from mmssl.convert.official.cotnet import cotnet_to_official
from mmssl.convert.transfer_load import load_backbone_into
from mmssl.engine.config import load_config
from mmssl.models.backbones import CoTNet
from mmssl.registry import MODELS

pytestmark = pytest.mark.integration
BENCHMARKS = Path(__file__).resolve().parents[2] / "configs/benchmarks"
MASK = BENCHMARKS / "coco_detection/mask-rcnn_cotnet50-fpn_8xb2-90k_coco.py"
MASK_OF_RESNET = BENCHMARKS / "coco_detection/mask-rcnn_r50-fpn_8xb2-1x_coco.py"
FCN = BENCHMARKS / "voc_segmentation/fcn_r50-d8_4xb4-20k_voc12aug-512x512.py"
SIZE = (64, 96)
COT = dict(depths=(1, 1, 1, 1), planes=(8, 8, 16, 16), stem_channels=8)
HYBRID = COT | dict(
    mixers=("se", "se", ("cot", "se"), "cot"), stem="deep", avg_down=True, blur=True
)


def random_backbone(config: dict) -> CoTNet:
    """Every number of it is random, and every branch takes part."""
    torch.manual_seed(0)
    network = MODELS.build(dict(config))
    for key, value in network.state_dict().items():
        if value.is_floating_point() and value.ndim == 1 and key.endswith(("weight", "var")):
            value.copy_(1 + 0.1 * torch.rand(value.shape))
    return network


def run_checkpoint(path: Path, **options) -> dict[str, torch.Tensor]:
    """A checkpoint of a run, and the backbone's tensors in it."""
    backbone = dict(type="mmssl.CoTNet", arch=COT) | options
    state = random_backbone(backbone).state_dict()
    text = Config(dict(model=dict(type="CARE", backbone=backbone))).pretty_text
    weights = {f"backbone.{key}": value for key, value in state.items()}
    torch.save(dict(meta=dict(cfg=text, epoch=3, iter=9), state_dict=weights), path)
    return state


@pytest.mark.parametrize("library", ["mmdet", "mmseg"])
@pytest.mark.parametrize("arch", [COT, HYBRID], ids=["cot", "hybrid"])
def test_equivalence_in_the_libraries(tmp_path, library, arch):
    """The registry of the library builds ours with all four maps from the file alone."""
    pytest.importorskip(library)
    state = run_checkpoint(tmp_path / "run.pth", arch=arch, norm_cfg=dict(type="SyncBN"))
    export = export_backbone(
        tmp_path / "run.pth", tmp_path / "out.pth", to=library, image_size=SIZE
    )
    build = export.metadata["build"]
    assert (build["type"], build["out_indices"]) == ("mmssl.CoTNet", (0, 1, 2, 3))
    init_cfg = dict(type="Pretrained", checkpoint=str(tmp_path / "out.pth"), prefix="backbone.")
    network = ROOT_MODELS.build(dict(build, init_cfg=init_cfg))
    network.init_weights()
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def test_equivalence_features_as_timm_gives_them(tmp_path):
    """timm has no such network: the file has the authors' names, and the class says its maps as timm does."""
    state = run_checkpoint(tmp_path / "run.pth", out_indices=(2, 3))
    export = export_backbone(tmp_path / "run.pth", tmp_path / "out.pth", to="timm", image_size=SIZE)
    assert export.metadata["build"].startswith("mmssl.models.backbones.CoTNet(arch=")
    weights = torch.load(tmp_path / "out.pth", weights_only=True)["state_dict"]
    assert weights.keys() == state.keys()
    network = CoTNet(COT, out_indices=(0, 1, 2, 3))
    network.load_state_dict(weights)
    assert network.feature_info.channels() == [32, 32, 64, 64]
    with pytest.raises(ValueError, match="Export it to timm, mmdet or mmseg"):
        export_backbone(tmp_path / "run.pth", tmp_path / "x.pth", to="torchvision", image_size=SIZE)


def test_state_dilated_pretraining_is_exported_as_the_plain_network(tmp_path):
    run_checkpoint(tmp_path / "run.pth", output_stride=16, dilate_mixer=True)
    export = export_backbone(
        tmp_path / "run.pth", tmp_path / "out.pth", to="mmdet", image_size=SIZE
    )
    assert not {"output_stride", "dilate_mixer"} & export.metadata["build"].keys()
    assert export.backbone.strides == [4, 8, 16, 32]


@pytest.mark.parametrize("detectron", [False, True])
def test_equivalence_official_files(tmp_path, detectron):
    """A network that nobody published needs a config (`test_raises_weights_that_do_not_tell...`)."""
    options = dict(arch=COT) if detectron else dict(arch=HYBRID, fusion="dynamic")
    network = random_backbone(dict(type="mmssl.CoTNet", **options))
    state = network.state_dict()
    theirs = cotnet_to_official(state, detectron=detectron)
    config = tmp_path / "net.py"
    config.write_text(f"model = dict(type='CARE', backbone=dict(type='CoTNet', **{options!r}))\n")
    if detectron:
        torch.save(dict(model=theirs), tmp_path / "theirs.pth")
    else:
        theirs |= {"fc.weight": torch.zeros(5, 64), "fc.bias": torch.zeros(5)}
        file = dict(arch="cotnet", epoch=3, state_dict=theirs, state_dict_ema=theirs)
        torch.save(file, tmp_path / "theirs.pth")
    export = export_backbone(
        tmp_path / "theirs.pth",
        tmp_path / "out.pth",
        to="mmdet",
        image_size=SIZE,
        from_config=config,
    )
    weights = export.backbone.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in weights.items())
    images = torch.randn(1, 3, *SIZE)
    assert torch.equal(export.backbone(images)[-1], network.eval()(images)[-1])


@pytest.mark.parametrize(
    ("library", "leaf"), [("mmdet", MASK), ("mmdet", MASK_OF_RESNET), ("mmseg", FCN)],
    ids=["mask-rcnn_cotnet", "mask-rcnn_resnet", "fcn_resnet"],
)  # fmt: skip
def test_values_ready_config_builds_and_takes_every_weight(tmp_path, library, leaf):
    pytest.importorskip(library)
    state = run_checkpoint(tmp_path / "run.pth", norm_cfg=dict(type="SyncBN"))
    export = export_backbone(
        tmp_path / "run.pth", tmp_path / "out.pth", to=library, image_size=SIZE
    )
    config = load_config(write_downstream_config(export, leaf))
    model = ROOT_MODELS.build(ConfigDict(config.model, _scope_=config.default_scope))
    assert type(model.backbone) is CoTNet
    parts = load_backbone_into(model, config.load_from).parts
    assert {name: len(report.matched) for name, report in parts.items()} == dict(
        backbone=len(state)
    )
    assert all(torch.equal(v, state[key]) for key, v in model.backbone.state_dict().items())
    maps = model.eval().extract_feat(torch.zeros(1, 3, *SIZE))
    assert maps[0].shape[2:] == (16, 24)
    dilated = leaf == FCN
    assert model.backbone.strides == ([4, 8, 8, 8] if dilated else [4, 8, 16, 32])
    mixers = [getattr(model.backbone, f"layer{i}")[0].conv2.dilation for i in (1, 2, 3, 4)]
    assert mixers == ([1, 1, 2, 4] if dilated else [1, 1, 1, 1])
    if leaf == MASK:  # the rest of its settings stay: only the structure is the run's
        assert model.backbone.frozen_stages == 1
        assert "norm_cfg" not in (tmp_path / "out.py").read_text().split("neck")[0]


def test_values_ready_config_of_an_official_file(tmp_path):
    """A fusion that weights do not tell, and norms of another epsilon, arrive in a CoTNet's detector too."""
    pytest.importorskip("mmdet")
    options = dict(arch=COT, fusion="dynamic", norm_cfg=dict(type="BN", eps=1e-3))
    network = random_backbone(dict(type="mmssl.CoTNet", **options)).eval()
    theirs = cotnet_to_official(network.state_dict())
    theirs |= {"fc.weight": torch.zeros(5, 64), "fc.bias": torch.zeros(5)}
    torch.save(dict(state_dict=theirs), tmp_path / "theirs.pth")
    source, out = tmp_path / "net.py", tmp_path / "out.pth"
    source.write_text(f"model = dict(type='CARE', backbone=dict(type='CoTNet', **{options!r}))\n")
    export = export_backbone(
        tmp_path / "theirs.pth", out, to="mmdet", image_size=SIZE, from_config=source
    )
    config = load_config(write_downstream_config(export, MASK))
    assert dict(config.model.backbone.norm_cfg) == dict(type="SyncBN", requires_grad=True, eps=1e-3)
    model = ROOT_MODELS.build(ConfigDict(config.model, _scope_=config.default_scope)).eval()
    load_backbone_into(model, config.load_from)
    images = torch.randn(1, 3, *SIZE)
    torch.testing.assert_close(model.backbone(images)[-1], network(images)[-1])


@pytest.mark.parametrize("arch", [COT, HYBRID], ids=["same stem", "another stem"])
def test_values_strides_of_a_config_stand_behind_its_stem(tmp_path, arch):
    pytest.importorskip("mmdet")
    run_checkpoint(tmp_path / "run.pth", arch=arch)
    export = export_backbone(
        tmp_path / "run.pth", tmp_path / "out.pth", to="mmdet", image_size=SIZE
    )
    leaf = tmp_path / "leaf.py"
    leaf.write_text(f"_base_ = {str(MASK)!r}\nmodel = dict(backbone=dict(strides=(1, 2, 2, 1)))\n")
    if arch is HYBRID:
        with pytest.raises(ValueError, match="'conv7', the pretrained one has the stem 'deep'"):
            write_downstream_config(export, leaf)
        return
    backbone = dict(load_config(write_downstream_config(export, leaf)).model.backbone)
    assert MODELS.build(backbone).strides == [4, 8, 16, 16]


@pytest.mark.parametrize("norm_eval", [True, None])
def test_state_fine_tuning_is_the_inherited_config_s(tmp_path, norm_eval):
    """Frozen stages and norms of mmdet's ResNet hold for the network in its place, not pretraining's."""
    pytest.importorskip("mmdet")
    run_checkpoint(tmp_path / "run.pth", with_cp=True, drop_path_rate=0.2)
    export = export_backbone(
        tmp_path / "run.pth", tmp_path / "out.pth", to="mmdet", image_size=SIZE
    )
    leaf = tmp_path / "leaf.py"
    own = "" if norm_eval else "model = dict(backbone=dict(norm_eval=False, frozen_stages=2))\n"
    leaf.write_text(f"_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'\n{own}")
    backbone = dict(load_config(write_downstream_config(export, leaf)).model.backbone)
    network = MODELS.build(backbone)
    assert (network.norm_eval, network.frozen_stages) == ((True, 1) if norm_eval else (False, 2))
    assert network.norm_cfg == dict(type="BN", requires_grad=True)
    assert not network.layer4[0].with_cp and isinstance(network.layer4[0].drop_path, nn.Identity)
    assert network.strides == [4, 8, 16, 32]


def test_raises_fewer_stages_than_the_config_reads(tmp_path):
    pytest.importorskip("mmdet")
    run_checkpoint(tmp_path / "run.pth", out_indices=(2,))
    export = export_backbone(
        tmp_path / "run.pth", tmp_path / "out.pth", to="mmdet", image_size=SIZE
    )
    with pytest.raises(ValueError, match="has 4 stages, the pretrained one 3"):
        write_downstream_config(export, MASK)
    assert not (tmp_path / "out.py").exists()


@pytest.mark.parametrize("arch", ["50", "d50", "d152"])
def test_state_dilated_leaf_of_any_stem(arch):
    """Stride 8 of a network whose stem has stride 2 as well."""
    name = "cityscapes_segmentation/fcn_cotnet50-d8_4xb2-40k_cityscapes-769x769.py"
    backbone = dict(load_config(BENCHMARKS / name).model.backbone, arch=arch)
    with torch.device("meta"):
        network = MODELS.build(backbone)
    assert network.strides == [4, 8, 8, 8]
    assert [network.get_submodule(f"layer{i}.0.conv2").dilation for i in (4,)] == [4]
