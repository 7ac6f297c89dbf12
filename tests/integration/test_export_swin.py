"""Exported Swins in mmdet, mmseg and timm: strict loads, and equal features by both rules of windows."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS as ROOT_MODELS
from torch import Tensor, nn

from mmssl.convert.downstream_config import write_downstream_config
from mmssl.convert.export import Export, export_backbone
from mmssl.convert.load_backbone import load_backbone
from mmssl.convert.official.swin import swin_to_official
from mmssl.convert.position_tables import resize_position_table
from mmssl.convert.timm_swin import swin_to_timm
from mmssl.convert.transfer_load import load_backbone_into
from mmssl.engine.config import load_config
from mmssl.models.backbones import Swin
from tools.export_backbone import main

pytestmark = pytest.mark.integration
DETECTION = 1 << 20  # at this size no map is as small as a window: all shift, none shrinks
TABLE = "attn.w_msa.relative_position_bias_table"


def swin_config(**changes) -> dict:
    tiny = dict(type="mmssl.Swin", embed_dims=8, depths=(2, 2, 2, 2), num_heads=(1, 2, 2, 4))
    return tiny | changes


def build_random(config: dict, seed: int = 0) -> Swin:
    """A Swin whose tensors are all random, norms and tables too."""
    network = Swin(**{key: value for key, value in config.items() if key != "type"}).eval()
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        std = 0.1 if parameter.dim() == 1 else parameter[0].numel() ** -0.5
        noise = std * torch.randn(parameter.shape, generator=generator)
        parameter.data = noise + (1.0 if name.endswith("weight") and parameter.dim() == 1 else 0)
    return network


def export(tmp_path: Path, config: dict, to: str, **options) -> tuple[Export, Swin]:
    """An export of a random network, and that network with the maps of its pretraining."""
    network = build_random(config)
    text = Config(dict(model=dict(type="EsViT", backbone=config))).pretty_text
    state = {f"backbone.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save(dict(meta=dict(cfg=text), state_dict=state), tmp_path / "run.pth")
    return export_backbone(tmp_path / "run.pth", tmp_path / "out.pth", to=to, **options), network


def weights_of(written: Export) -> dict[str, Tensor]:
    state = torch.load(written.path, weights_only=True)["state_dict"]
    return {name.removeprefix("backbone."): tensor for name, tensor in state.items()}


NETWORKS = {
    "w7": {},
    "w14": dict(window_size=14),
    "no bias, ratio 2": dict(qkv_bias=False, mlp_ratio=2.0, norm_eps=1e-5),
    "64 px": dict(pretrain_img_size=64),
    "448 px": dict(pretrain_img_size=448),
    "three stages": dict(out_indices=(2,)),
}


@pytest.mark.downstream
@pytest.mark.parametrize("library", ["mmdet", "mmseg"])
@pytest.mark.parametrize("case", NETWORKS)
def test_equivalence_in_mmdet_and_mmseg(tmp_path: Path, library: str, case: str) -> None:
    config = swin_config(**NETWORKS[case])
    written, pretrained = export(tmp_path, config, library, image_size=(224, 224))
    meta = written.metadata
    assert meta["build"]["type"] == f"{library}.SwinTransformer"
    assert meta["max_difference"] <= 1e-5 * meta["max_feature"]
    weights = weights_of(written)
    theirs = ROOT_MODELS.build(dict(meta["build"]))
    theirs.eval()
    theirs.load_state_dict(weights, strict=True)

    # Out of the box they follow the rule of detection: ours under that rule, with the file, is equal.
    stages = len(pretrained.stages)
    detection = dict(pretrain_img_size=DETECTION, out_indices=tuple(range(stages)))
    ours = build_random(config | detection, seed=1)
    assert load_backbone(ours, weights).complete
    image = torch.randn(1, 3, 100, 232)
    with torch.no_grad():
        maps = zip(ours(image), theirs(image), strict=True)
        for mine, other in maps:
            torch.testing.assert_close(mine, other, atol=5e-5, rtol=1e-4)
        images = torch.randn(1, 3, 224, 224)
        same = (pretrained(images)[-1] - theirs(images)[-1]).abs().max() < 1e-4
    assert same == (meta["verified_as"] is None) == (case in ("448 px", "three stages"))


@pytest.mark.downstream
@pytest.mark.parametrize("library", ["mmdet", "mmseg"])
@pytest.mark.parametrize("window", [7, 14])
def test_state_the_families_own_loader(tmp_path: Path, library: str, window: int) -> None:
    written, network = export(tmp_path, swin_config(window_size=window), library)
    init_cfg = dict(type="Pretrained", checkpoint=str(written.path))
    theirs = ROOT_MODELS.build(Config(dict(written.metadata["build"], init_cfg=init_cfg))._cfg_dict)
    theirs.init_weights()
    weights = weights_of(written)
    assert all(torch.equal(t, weights[name]) for name, t in theirs.state_dict().items())
    for name, tensor in network.state_dict().items():
        if window == 14 and name.startswith("stages.3") and name.endswith(TABLE):
            assert torch.equal(weights[name], resize_position_table(tensor, 14))
        else:
            assert torch.equal(weights[name], tensor), name
    for norm in (theirs.norm0, theirs.norm1, theirs.norm2):
        assert bool((norm.weight == 1).all() and (norm.bias == 0).all())


@pytest.mark.downstream
def test_equivalence_tables_are_what_mmdets_loader_makes_of_them(tmp_path: Path) -> None:
    """mmdet resizes on load: from Microsoft's layout it arrives at the tables of the file."""
    written, network = export(tmp_path, swin_config(window_size=14), "mmdet")
    torch.save(swin_to_official(network.state_dict()), tmp_path / "official.pth")
    build = dict(written.metadata["build"], convert_weights=True)
    build["init_cfg"] = dict(type="Pretrained", checkpoint=str(tmp_path / "official.pth"))
    theirs = ROOT_MODELS.build(Config(build)._cfg_dict)
    theirs.init_weights()
    weights = weights_of(written)
    resized = 0
    for name, tensor in theirs.state_dict().items():
        if not name.startswith("norm"):
            assert torch.equal(tensor, weights[name]), name
            resized += name.endswith(TABLE) and tensor.shape[0] == 729
    assert resized == 8


@pytest.mark.downstream
@pytest.mark.parametrize("convert", [dict, swin_to_official, swin_to_timm])
def test_equivalence_any_file_in_mmdets_backbone(tmp_path: Path, convert) -> None:
    """`load_from` need not be an export: the weights of every layout arrive as those of the export."""
    written, network = export(tmp_path, swin_config(window_size=14), "mmdet")
    theirs = ROOT_MODELS.build(dict(written.metadata["build"]))
    report = load_backbone(theirs, convert(network.state_dict()))
    assert (len(report.fresh), len(report.resized)) == (6, 2)
    weights = weights_of(written)
    assert all(torch.equal(t, weights[name]) for name, t in theirs.state_dict().items())


@pytest.mark.downstream
def test_values_metadata_says_how_equality_was_shown(tmp_path: Path) -> None:
    written, _ = export(tmp_path, swin_config(), "mmdet")
    assert written.metadata["image_size"] == [224, 224]
    assert written.metadata["verified_as"] == (
        "mmdet.SwinTransformer as pretrained: stage 4 does not shift"
    )
    written, _ = export(tmp_path, swin_config(window_size=14), "mmseg")
    assert written.metadata["verified_as"] == (
        "mmseg.SwinTransformer as pretrained: stage 3 does not shift, stage 4 has window 7 for 14, "
        "stage 4 does not shift"
    )


@pytest.mark.downstream
def test_values_trained_norms_of_earlier_maps_are_written(tmp_path: Path) -> None:
    written, network = export(tmp_path, swin_config(out_indices=(0, 1, 2, 3)), "mmdet")
    assert torch.equal(weights_of(written)["norm1.weight"], network.norm1.weight)
    assert written.report.fresh == ()


@pytest.mark.downstream
@pytest.mark.parametrize(
    ("library", "changes", "kind"),
    [
        ("mmdet", dict(patch_norm=False), "mmssl.Swin"),
        ("mmdet", dict(mlp_ratio=2.5), "mmssl.Swin"),
        ("mmseg", dict(mlp_ratio=2.5), "mmseg.SwinTransformer"),
    ],
)
def test_values_what_theirs_cannot_express_is_ours(tmp_path, library, changes, kind) -> None:
    config = swin_config(pretrain_img_size=64, **changes)
    written, _ = export(tmp_path, config, library)
    assert written.metadata["build"]["type"] == kind
    network = ROOT_MODELS.build(dict(written.metadata["build"]))
    network.load_state_dict(weights_of(written), strict=True)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        dict(window_size=14),
        dict(pretrain_img_size=448),
        dict(pretrain_img_size=160, window_size=5, mlp_ratio=2.0, qkv_bias=False, norm_eps=1e-5),
        dict(out_indices=(1, 2)),
        dict(out_indices=(0, 1, 2, 3)),
    ],
)
def test_equivalence_in_timm(tmp_path: Path, changes: dict) -> None:
    config = swin_config(**changes)
    written, network = export(tmp_path, config, "timm")
    call = written.metadata["build"]
    theirs = eval(call, dict(timm=timm, torch=torch, functools=__import__("functools"))).eval()
    weights = weights_of(written)
    theirs.load_state_dict(weights, strict=True)
    size = network.pretrain_img_size
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        expected = network(images)[-1]
        torch.testing.assert_close(
            theirs.forward_features(images).permute(0, 3, 1, 2), expected, atol=5e-5, rtol=1e-4
        )
        torch.testing.assert_close(theirs(images), expected.mean((2, 3)), atol=5e-5, rtol=1e-4)
    again = Swin(**{key: value for key, value in config.items() if key not in ("type",)})
    assert load_backbone(again, weights).complete


@pytest.mark.parametrize(
    ("structure", "name"),
    [
        (dict(), "swin_tiny_patch4_window7_224"),
        (dict(depths=(2, 2, 18, 2)), "swin_small_patch4_window7_224"),
        (
            dict(embed_dims=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32)),
            "swin_base_patch4_window7_224",
        ),
    ],
)
def test_state_standard_sizes_have_timms_names(structure: dict, name: str) -> None:
    from mmssl.convert.export_targets import build_target

    with torch.device("meta"):
        backbone = Swin(**structure)
        target = build_target("timm", backbone, dict(type="mmssl.Swin"))
        theirs = timm.create_model(name, num_classes=0)
    assert target.build == (
        f"timm.create_model({name!r}, num_classes=0, "
        "norm_layer=functools.partial(torch.nn.LayerNorm, eps=1e-06))"
    )
    weights = target.file_weights(backbone.state_dict())
    assert {k: v.shape for k, v in weights.items()} == {
        k: v.shape for k, v in theirs.state_dict().items()
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(patch_norm=False), "patch_norm=False"),
        (dict(pretrain_img_size=256), r"stage 1 has side 64 and windows of 7\. Export it to mmdet"),
        (dict(pretrain_img_size=144, window_size=9), "stage 4 has side 4.5"),
    ],
)
def test_raises_timm_has_no_equal_network(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        export(tmp_path, swin_config(**changes), "timm")
    assert not (tmp_path / "out.pth").exists()


def test_raises_timm_at_another_size_and_torchvision(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="224 x 224, the size of pretraining"):
        export(tmp_path, swin_config(), "timm", image_size=(96, 96))
    with pytest.raises(ValueError, match="Export it to timm, mmdet or mmseg"):
        export(tmp_path, swin_config(), "torchvision")
    assert not (tmp_path / "out.pth").exists()


@pytest.mark.downstream
def test_raises_planted_faults_leave_no_file(tmp_path: Path, monkeypatch) -> None:
    """A permutation forgotten, or blocks left as the library has them, is found."""
    monkeypatch.setattr("mmssl.convert.official.swin._NEIGHBOURS", [0, 1, 2, 3])
    with pytest.raises(ValueError, match="other features"):
        export(tmp_path, swin_config(), "timm")
    monkeypatch.setattr(
        "mmssl.convert.swin_targets._pretraining_network",
        lambda build, backbone: (ROOT_MODELS.build({**build, "drop_path_rate": 0.0}), []),
    )
    with pytest.raises(ValueError, match="other features"):
        export(tmp_path, swin_config(), "mmdet")
    assert not (tmp_path / "out.pth").exists()


@pytest.mark.downstream
def test_values_an_official_file_is_exported_with_a_config(tmp_path: Path) -> None:
    network = build_random(swin_config())
    student = build_random(swin_config(), seed=1)
    content = dict(
        student={f"module.{k}": v for k, v in swin_to_official(student.state_dict()).items()},
        teacher=swin_to_official(network.state_dict()),
        epoch=300,
    )
    torch.save(content, tmp_path / "official.pth")
    (tmp_path / "c.py").write_text(Config(dict(model=dict(backbone=swin_config()))).pretty_text)
    written = export_backbone(
        tmp_path / "official.pth", tmp_path / "out.pth", to="mmdet", branch="twin",
        from_config=tmp_path / "c.py",
    )  # fmt: skip
    weights = weights_of(written)
    for name, tensor in network.state_dict().items():
        assert torch.equal(weights[name], tensor), name
    assert isinstance(written.backbone, nn.Module)


BENCHMARKS = Path(__file__).resolve().parents[2] / "configs" / "benchmarks"
SWIN_FPN = "coco_detection/mask-rcnn_swin-t_fpn_8xb2-1x_coco.py"
RESNET_FPN = "coco_detection/mask-rcnn_r50-fpn_8xb2-1x_coco.py"
UPERNET = "voc_segmentation/upernet_swin-t_4xb4-20k_voc12aug-512x512.py"
FCN = "voc_segmentation/fcn_swin-t_4xb4-20k_voc12aug-512x512.py"
RESNET_FCN = "voc_segmentation/fcn_r50-d8_4xb4-20k_voc12aug-512x512.py"


@pytest.mark.downstream
@pytest.mark.parametrize(
    ("library", "leaf", "changes"),
    [
        ("mmdet", SWIN_FPN, dict(window_size=14)),
        ("mmdet", RESNET_FPN, {}),
        ("mmdet", SWIN_FPN, dict(patch_norm=False, pretrain_img_size=64)),
        ("mmseg", UPERNET, dict(norm_eps=1e-5)),
        ("mmseg", FCN, dict(qkv_bias=False)),
        ("mmseg", FCN, dict(patch_norm=False, pretrain_img_size=64)),
        ("mmseg", RESNET_FCN, {}),
    ],
)
def test_values_ready_config_builds_and_takes_every_weight(
    tmp_path: Path, library: str, leaf: str, changes: dict
) -> None:
    written, _ = export(tmp_path, swin_config(**changes), library)
    config = load_config(write_downstream_config(written, BENCHMARKS / leaf))
    model = ROOT_MODELS.build(ConfigDict(config.model, _scope_=config.default_scope))
    load_backbone_into(model, config.load_from)
    weights = weights_of(written)
    state = model.backbone.state_dict()
    unread = {name for name in weights if leaf == FCN and name.startswith(("norm0", "norm1"))}
    assert state.keys() == weights.keys() - unread
    assert all(torch.equal(tensor, weights[name]) for name, tensor in state.items())
    eps = {m.eps for m in model.backbone.modules() if isinstance(m, nn.LayerNorm)}
    assert eps == {changes.get("norm_eps", 1e-6)}
    model.eval()
    maps = model.extract_feat(torch.zeros(1, 3, 64, 64))
    if library == "mmseg":
        scores = model.encode_decode(torch.zeros(1, 3, 64, 64), [dict(img_shape=(64, 64))])
        assert scores.shape == (1, 21, 64, 64)
    else:
        assert [one.shape[1] for one in maps] == [256] * 5


@pytest.mark.downstream
def test_values_ready_config_keeps_the_recipes_drop_path(tmp_path: Path) -> None:
    written, _ = export(tmp_path, swin_config(), "mmseg")
    config = load_config(write_downstream_config(written, BENCHMARKS / UPERNET))
    assert (config.model.backbone.drop_path_rate, config.model.backbone.embed_dims) == (0.3, 8)
    assert config.model.decode_head.in_channels == [8, 16, 32, 64]
    assert config.model.auxiliary_head.in_channels == 32


@pytest.mark.downstream
def test_raises_ready_config_needs_all_stages(tmp_path: Path) -> None:
    written, _ = export(tmp_path, swin_config(out_indices=(2,)), "mmdet")
    with pytest.raises(ValueError, match="4 stages, the pretrained one 3"):
        write_downstream_config(written, BENCHMARKS / SWIN_FPN)


@pytest.mark.downstream
def test_values_command_line_takes_a_swins_config(tmp_path: Path, monkeypatch, capsys) -> None:
    export(tmp_path, swin_config(), "mmdet")
    arguments = [str(tmp_path / "run.pth"), str(tmp_path / "cli.pth"), "--to", "mmseg", "--config"]
    monkeypatch.setattr("sys.argv", ["export_backbone.py", *arguments])
    main()
    said = capsys.readouterr().out
    assert "Compared with mmseg.SwinTransformer as pretrained: stage 4 does not shift" in said
    assert Path(FCN).name in (tmp_path / "cli.py").read_text()
