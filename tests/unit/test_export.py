"""Export: what is written, that it is the same network, and that doubts leave no file."""

from __future__ import annotations

import hashlib
import importlib.util
import json

import pytest
import timm
import torch
import torchvision
from mmengine.config import Config
from safetensors import safe_open

from mmssl import __version__
from mmssl.convert.config_text import read_config_text
from mmssl.convert.export import export_backbone
from mmssl.convert.export_targets import build_target
from mmssl.convert.load_report import weights_checksum
from mmssl.models.backbones import ResNet
from mmssl.registry import MODELS
from tools.export_backbone import main

SIZE = (64, 64)


def write_checkpoint(path, backbone, *, twin_factor=1.25, **changes):
    """A checkpoint as a run of ours writes it; the twin's first weight is `twin_factor` times ours."""
    torch.manual_seed(0)
    state = MODELS.build(dict(backbone)).state_dict()
    first = next(iter(state))
    config = Config(
        dict(
            model=dict(
                type="BYOL",
                backbone=dict(backbone, init_cfg=dict(type="Pretrained", checkpoint="absent.pth")),
                data_preprocessor=dict(
                    type="ViewPreprocessor", mean=[1.0, 2.0, 3.0], std=[4, 5, 6]
                ),
            )
        )
    )
    state_dict = {f"backbone.{k}": v for k, v in state.items()}
    state_dict |= {f"twin.backbone.{k}": v.clone() for k, v in state.items()}
    state_dict[f"twin.backbone.{first}"] *= twin_factor
    state_dict["neck.weight"] = torch.zeros(2)
    content = dict(meta=dict(cfg=config.pretty_text, epoch=7, iter=70), state_dict=state_dict)
    torch.save(content | changes, path)
    return state


@pytest.fixture
def run(tmp_path):
    state = write_checkpoint(
        tmp_path / "run.pth", dict(type="mmssl.ResNet", depth=18, out_indices=(2, 3))
    )
    return tmp_path / "run.pth", tmp_path / "out.pth", state


def test_values_torchvision_loads_the_file_and_equals(run):
    checkpoint, out, state = run
    export = export_backbone(checkpoint, out, to="torchvision", image_size=SIZE)
    loaded = torch.load(out, weights_only=True)
    network = torchvision.models.resnet18().eval()
    outcome = network.load_state_dict(loaded["state_dict"], strict=False)
    assert (sorted(outcome.missing_keys), outcome.unexpected_keys) == (["fc.bias", "fc.weight"], [])
    assert set(export.left_out) == {"fc.weight", "fc.bias"}
    assert all(torch.equal(loaded["state_dict"][k], v) for k, v in state.items())
    images = torch.randn(1, 3, *SIZE)
    assert torch.equal(network(images), network.fc(export.backbone(images)[-1].mean(dim=(2, 3))))
    assert export.metadata["max_difference"] == 0


@pytest.mark.parametrize("to", ["torchvision", "timm", "mmdet", "mmseg"])
@pytest.mark.filterwarnings("ignore:mm... is not installed")
def test_values_a_dilated_pretraining_is_exported_as_the_plain_network(tmp_path, to):
    """As the recipes of Shapes pretrain: one map of stride 16."""
    dilated = dict(type="mmssl.ResNet", depth=18, out_indices=(3,), output_stride=16)
    state = write_checkpoint(tmp_path / "run.pth", dilated)
    export = export_backbone(tmp_path / "run.pth", tmp_path / "o.pth", to=to, image_size=SIZE)
    prefix = "backbone." if to.startswith("mm") else ""
    written = torch.load(tmp_path / "o.pth", weights_only=True)["state_dict"]
    assert {name.removeprefix(prefix) for name in written} == set(state)
    assert all(torch.equal(written[prefix + name], tensor) for name, tensor in state.items())
    assert export.metadata["max_difference"] == 0
    plain = ResNet(18, out_indices=(0, 1, 2, 3)).eval()
    plain.load_state_dict(state)
    images = torch.randn(1, 3, *SIZE)
    for ours, theirs in zip(plain(images), export.backbone(images), strict=True):
        assert torch.equal(ours, theirs)


def test_values_metadata(run):
    checkpoint, out, _ = run
    export_backbone(checkpoint, out, to="timm", image_size=SIZE)
    loaded = torch.load(out, weights_only=True)
    meta = loaded["meta"]
    text = torch.load(checkpoint)["meta"]["cfg"]
    assert meta["source_sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert meta["config_sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert meta["weights_sha256"] == weights_checksum(loaded["state_dict"])
    assert (meta["method"], meta["branch"], meta["epoch"], meta["iter"]) == (
        "BYOL",
        "online",
        7,
        70,
    )
    assert (meta["mean"], meta["std"], meta["channel_order"]) == ([1, 2, 3], [4, 5, 6], "RGB")
    assert (meta["mmssl_version"], meta["verified_with"]) == (__version__, "timm")
    assert meta["max_feature"] > 0
    assert meta["max_difference"] <= 1e-4 * meta["max_feature"]


def test_values_safetensors_carry_the_same(run):
    checkpoint, out, state = run
    export = export_backbone(
        checkpoint, out.with_suffix(".safetensors"), to="timm", image_size=SIZE
    )
    with safe_open(export.path, framework="pt") as file:
        assert {k: file.get_tensor(k).shape for k in file.keys()} == {  # noqa: SIM118
            k: v.shape for k, v in state.items()
        }
        meta = file.metadata()
    assert meta["source_sha256"] == export.metadata["source_sha256"]
    assert json.loads(meta["epoch"]) == 7
    assert json.loads(meta["max_difference"]) == export.metadata["max_difference"]


def test_values_twin_is_exported_on_request(run):
    checkpoint, out, state = run
    export_backbone(checkpoint, out, to="torchvision", branch="twin", image_size=SIZE)
    exported = torch.load(out, weights_only=True)["state_dict"]
    assert torch.equal(exported["conv1.weight"], state["conv1.weight"] * 1.25)
    assert torch.equal(exported["layer1.0.conv1.weight"], state["layer1.0.conv1.weight"])


@pytest.mark.parametrize(
    ("backbone", "to", "build"),
    [
        (dict(type="mmssl.ResNet", depth=18, norm_cfg=dict(type="SyncBN")), "timm", "'resnet18'"),
        (dict(type="mmssl.TimmBackbone", name="test_convnext"), "timm", "'test_convnext'"),
        (dict(type="mmssl.TimmBackbone", name="test_vit", img_size=64), "timm", "img_size=64"),
    ],
)
def test_equivalence_with_other_networks(tmp_path, backbone, to, build):
    write_checkpoint(tmp_path / "run.pth", backbone)
    export = export_backbone(tmp_path / "run.pth", tmp_path / "o.pth", to=to, image_size=SIZE)
    assert build in export.metadata["build"]
    assert export.metadata["max_difference"] <= 1e-5 * export.metadata["max_feature"]


@pytest.mark.parametrize("library", ["torchvision", "timm"])
@pytest.mark.parametrize(
    ("depth", "width", "name"),
    [(50, 2, "wide_resnet50_2"), (101, 2, "wide_resnet101_2"), (152, 1, "resnet152")],
)
def test_state_targets_of_large_resnets_have_our_names_and_shapes(library, depth, width, name):
    with torch.device("meta"):
        backbone = ResNet(depth, width)
        target = build_target(library, backbone, dict(type="mmssl.ResNet"))
    assert name in target.build
    ours = {k: v.shape for k, v in target.file_weights(backbone.state_dict()).items()}
    theirs = {k: v.shape for k, v in target.network.state_dict().items()}
    assert ours == {k: v for k, v in theirs.items() if k not in target.optional}


@pytest.mark.parametrize(
    ("backbone", "kind"),
    [
        (dict(type="mmssl.ResNet", depth=18, stem="cifar"), "mmssl.ResNet"),
        (dict(type="TimmBackbone", name="test_convnext"), "mmssl.TimmBackbone"),
    ],
)
def test_values_mm_libraries_get_our_class_where_theirs_cannot(tmp_path, backbone, kind):
    built = dict(backbone, type=kind)
    state = write_checkpoint(tmp_path / "run.pth", built)
    out = tmp_path / "o.pth"
    export = export_backbone(tmp_path / "run.pth", out, to="mmdet", image_size=SIZE)
    assert export.metadata["build"]["type"] == kind
    assert set(torch.load(out)["state_dict"]) == {f"backbone.{k}" for k in state}
    network = MODELS.build(
        dict(
            export.metadata["build"],
            init_cfg=dict(type="Pretrained", checkpoint=str(out), prefix="backbone."),
        )
    )
    network.init_weights()
    assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())


def test_values_without_mmdet_torchvision_stands_in(run, monkeypatch):
    checkpoint, out, state = run
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "mmdet" else find(name, *rest),
    )
    with pytest.warns(UserWarning, match="torchvision's, which has the same names"):
        export = export_backbone(checkpoint, out, to="mmdet", image_size=SIZE)
    assert export.metadata["verified_with"] == "torchvision"
    assert set(torch.load(out)["state_dict"]) == {f"backbone.{k}" for k in state}


def planted(state_dict, fault):
    def change(match, new):
        return {
            new(k) if match in k else k: v
            for k, v in state_dict.items()
            if new(k) or match not in k
        }

    if fault == "renamed":
        return change("layer1.0.conv1", lambda k: k.replace("conv1", "conv_1"))
    if fault == "dropped layer":
        return change("layer4.1", lambda k: "")
    if fault == "no statistics":
        return change("running_", lambda k: "")
    if fault == "wrong depth":
        deeper = ResNet(34).state_dict()
        return {f"{p}{k}": v for p in ("backbone.", "twin.backbone.") for k, v in deeper.items()}
    if fault == "nan":
        return {
            k: v * float("nan") if "layer4.1.bn2.weight" in k else v for k, v in state_dict.items()
        }
    return {}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("renamed", "missing"),
        ("dropped layer", "missing"),
        ("no statistics", "running_mean"),
        ("wrong depth", "deeper network"),
        ("nan", "not finite"),
        ("empty", "Nothing was loaded"),
    ],
)
def test_raises_planted_faults_leave_no_file(run, fault, message):
    checkpoint, out, _ = run
    content = torch.load(checkpoint)
    torch.save(dict(content, state_dict=planted(content["state_dict"], fault)), checkpoint)
    with pytest.raises(ValueError, match=message):
        export_backbone(checkpoint, out, to="torchvision", image_size=SIZE)
    assert [p.name for p in out.parent.iterdir()] == ["run.pth"]


def test_raises_other_features_leave_no_file(run, monkeypatch):
    checkpoint, out, _ = run
    original = torchvision.models.resnet18

    def other():
        network = original()
        network.layer4[1].bn1.eps = 0.5
        return network

    monkeypatch.setattr(torchvision.models, "resnet18", other)
    with pytest.raises(ValueError, match="largest difference"):
        export_backbone(checkpoint, out, to="torchvision", image_size=SIZE)
    assert [p.name for p in out.parent.iterdir()] == ["run.pth"]


def test_raises_target_of_another_network_leaves_no_file(run, monkeypatch):
    checkpoint, out, _ = run
    monkeypatch.setattr(torchvision.models, "resnet18", torchvision.models.resnet34)
    with pytest.raises(ValueError, match="does not fit"):
        export_backbone(checkpoint, out, to="torchvision", image_size=SIZE)
    assert [p.name for p in out.parent.iterdir()] == ["run.pth"]


@pytest.mark.parametrize(
    ("backbone", "to", "message"),
    [
        (dict(type="mmssl.ResNet", depth=18, stem="cifar"), "torchvision", "mmdet or mmseg"),
        (dict(type="mmssl.ResNet", depth=50, out_indices=(2,)), "timm", "four stages"),
        (
            dict(type="mmssl.TimmBackbone", name="test_vit", out_indices=(2,), img_size=64),
            "timm",
            "6 maps",
        ),
        (dict(type="mmssl.TimmBackbone", name="test_convnext"), "torchvision", "timm, mmdet"),
        (dict(type="mmssl.ResNet", depth=18), "detectron2", "to must be one of"),
    ],
)
def test_raises_library_without_that_network(tmp_path, backbone, to, message):
    write_checkpoint(tmp_path / "run.pth", backbone)
    with pytest.raises(ValueError, match=message):
        export_backbone(tmp_path / "run.pth", tmp_path / "o.pth", to=to, image_size=SIZE)
    assert not (tmp_path / "o.pth").exists()


def test_values_config_of_a_checkpoint_without_one_is_named(tmp_path):
    model = torchvision.models.resnet18()
    content = {f"module.encoder_q.{k}": v for k, v in model.state_dict().items()}
    torch.save(dict(state_dict=content, epoch=200, arch="resnet18"), tmp_path / "moco.pth")
    with pytest.raises(ValueError, match="--from-config"):
        export_backbone(tmp_path / "moco.pth", tmp_path / "o.pth", to="timm")
    (tmp_path / "c.py").write_text(
        "default_scope = 'mmssl'\nmodel = dict(type='BYOL', backbone=dict(type='ResNet', depth=18))\n"
    )
    export = export_backbone(
        tmp_path / "moco.pth",
        tmp_path / "o.pth",
        to="timm",
        from_config=tmp_path / "c.py",
        image_size=SIZE,
    )
    assert export.metadata["epoch"] == 200
    network = timm.create_model("resnet18", num_classes=0)
    network.load_state_dict(torch.load(tmp_path / "o.pth")["state_dict"])
    assert torch.equal(network.conv1.weight, model.conv1.weight)


def test_raises_config_text_is_never_executed(run, tmp_path):
    checkpoint, out, _ = run
    content = torch.load(checkpoint)
    content["meta"]["cfg"] = f"open({str(tmp_path / 'pwned')!r}, 'w')\n" + content["meta"]["cfg"]
    torch.save(content, checkpoint)
    with pytest.raises(ValueError, match="not an assignment"):
        export_backbone(checkpoint, out, to="timm")
    assert not (tmp_path / "pwned").exists()


def test_values_config_text_equals_mmengines_reading():
    config = dict(
        model=dict(type="A", values=[1, -2.5, (3,), None, True], text="it's"),
        train_cfg=dict(by_epoch=True, **{"a-b": dict(x=1e-6)}),
        custom_hooks=[dict(type="H"), dict(type="G", n=[dict(a=1)])],
        empty=dict(),
        load_from=None,
    )
    text = Config(config).pretty_text
    assert read_config_text(text) == config == Config.fromstring(text, ".py").to_dict()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = 1\nimport os", "Line 2"),
        ("a = __import__('os').system('true')", "Line 1"),
        ("a = [b]", "'b' is not a plain value"),
        ("a = dict(**{})", "not a plain value"),
        ("a = dict([])", "one dictionary"),
        ("a = = 1", "no Python source"),
        ("a.b = 1", "not an assignment"),
    ],
)
def test_raises_config_text(text, message):
    with pytest.raises(ValueError, match=message):
        read_config_text(text)


def test_values_command_line(run, capsys, monkeypatch):
    checkpoint, out, _ = run
    monkeypatch.setattr(
        "sys.argv", ["x", str(checkpoint), str(out), "--to", "timm", "--branch", "twin"]
    )
    main()
    text = capsys.readouterr().out
    assert "120 matched, 0 missing" in text
    assert "Largest feature difference 0" in text
    assert torch.load(out)["meta"]["branch"] == "twin"


def test_raises_command_line_says_what_is_wrong_without_a_trace(run, monkeypatch):
    checkpoint, out, _ = run
    monkeypatch.setattr("sys.argv", ["x", str(checkpoint) + "x", str(out), "--to", "timm"])
    with pytest.raises(SystemExit, match=r"Not exported. There is no weights file .*run\.pth"):
        main()
    assert not out.exists()
