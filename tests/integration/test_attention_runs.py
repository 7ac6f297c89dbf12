"""MoCo v2 through tools/train.py with each attention plugin, and with LR-Net."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mmssl.convert.export import export_backbone
from mmssl.engine.config import load_config
from mmssl.models.backbones import LRNet, ResNet
from mmssl.registry import MODELS
from tests.helpers.pictures import write_folder
from tests.helpers.processes import ROOT, train

pytestmark = pytest.mark.integration
PLUGINS = {
    "nonlocal": "nonlocal_block.conv_out.conv.weight",
    "gc": "context_block.channel_add_conv.3.weight",
    "dnl": "dnl_block.conv_out.conv.weight",
    "genattention": "gen_attention_block.gamma",
}
LRNET = ROOT / "configs/lrnet/mocov2_lrnet26_1xb32-coslr-4e_shapes.py"
MOCO = ROOT / "configs/moco/mocov2_resnet18_1xb32-coslr-4e_shapes.py"


def leaf(name: str) -> Path:
    return ROOT / f"configs/attention_plugins/mocov2_resnet18-{name}_1xb32-coslr-4e_shapes.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("images")
    write_folder(root, 12, classes=("a", "b"))
    return root


def run(config: Path, folder: Path, work_dir: Path, *options: str) -> dict[str, torch.Tensor]:
    """Six steps; the state dict afterwards."""
    process = train(
        config, "--work-dir", work_dir, "--cfg-options",
        f"train_dataloader.dataset.root={folder}", "train_dataloader.batch_size=4",
        "train_dataloader.num_workers=0", "train_dataloader.persistent_workers=False",
        "train_cfg.max_epochs=1", "model.queue_length=16", "custom_hooks=[]", *options,
        log=work_dir.with_suffix(".log"),
    )  # fmt: skip
    assert process.wait(500) == 0, work_dir.with_suffix(".log").read_text()[-3000:]
    return torch.load(work_dir / "epoch_1.pth", weights_only=False)["state_dict"]


@pytest.mark.parametrize("name", PLUGINS)
def test_equivalence_leaves_differ_in_the_plugin_alone(name):
    ours, plain = load_config(leaf(name)).to_dict(), load_config(MOCO).to_dict()
    (plugin,) = ours["model"]["backbone"].pop("plugins")
    assert plugin["position"] == "after_conv2"
    assert bool(ours.pop("custom_imports", None)) is (name != "dnl")  # those of mmcv
    assert ours == plain


def test_equivalence_lrnets_leaf_differs_in_the_network_alone():
    ours, plain = load_config(LRNET).to_dict(), load_config(MOCO).to_dict()
    assert ours["model"].pop("backbone")["type"] == "LRNet"
    plain["model"].pop("backbone")
    assert ours == plain


@pytest.mark.slow
@pytest.mark.parametrize("name", PLUGINS)
def test_state_plugins_learn(tmp_path, folder, name):
    """From zero, in both branches."""
    if name != "dnl":
        pytest.importorskip("mmcv.cnn")
    state = run(leaf(name), folder, tmp_path / "run")
    for prefix in ("backbone", "twin.backbone"):
        weight = state[f"{prefix}.layer3.1.{PLUGINS[name]}"]
        assert weight.isfinite().all() and weight.any()


@pytest.mark.slow
def test_state_lrnet_learns(tmp_path, folder):
    state = run(
        LRNET, folder, tmp_path / "run", "model.backbone.depth=[1,1,1,1]",
        "model.backbone.widths=[8,8,8,8]", "model.backbone.shares=[4,4,4,4]",
    )  # fmt: skip
    key = "layer2.0.conv2.0.prior.out.weight"
    assert not torch.equal(state[f"backbone.{key}"], state[f"twin.backbone.{key}"])


@pytest.mark.downstream
def test_equivalence_plugins_are_exported_to_mmdet(tmp_path):
    pytest.importorskip("mmdet")
    import mmssl.downstream.attention_plugins  # noqa: F401

    backbone = dict(
        type="ResNet",
        depth=50,
        out_indices=(2,),
        plugins=[
            dict(
                cfg=dict(type=kind, **options),
                position="after_conv3",
                stages=(False, False, True, True),
            )
            for kind, options in (("GCBlock", dict(ratio=0.25)), ("DNLBlock", {}))
        ],
    )
    torch.manual_seed(0)
    network = MODELS.build(dict(backbone))
    for each in network.layer3.parameters():
        torch.nn.init.normal_(each, std=0.02)
    config = f"model = dict(type='MoCo', backbone={backbone!r})\n"
    state = {f"backbone.{key}": value for key, value in network.state_dict().items()}
    torch.save(dict(meta=dict(cfg=config), state_dict=state), tmp_path / "run.pth")
    export = export_backbone(
        tmp_path / "run.pth", tmp_path / "out.pth", to="mmdet", image_size=(64, 64)
    )
    plugins = export.metadata["build"]["plugins"]
    assert [each["cfg"]["type"] for each in plugins] == ["ContextBlock", "DNLBlock"]
    with pytest.raises(ValueError, match="torchvision has no network equal to.*plugins"):
        export_backbone(tmp_path / "run.pth", tmp_path / "out.pth", to="torchvision")


@pytest.mark.downstream
def test_equivalence_lrnet_is_exported_with_all_maps(tmp_path):
    pytest.importorskip("mmdet")
    backbone = dict(
        type="LRNet", depth=(1, 1, 1, 1), widths=(8,) * 4, shares=(4,) * 4, kernel_size=3
    )
    torch.manual_seed(0)
    state = MODELS.build(dict(backbone)).state_dict()
    config = f"model = dict(type='MoCo', backbone={backbone!r})\n"
    state = {f"backbone.{key}": value for key, value in state.items()}
    torch.save(dict(meta=dict(cfg=config), state_dict=state), tmp_path / "run.pth")
    export = export_backbone(
        tmp_path / "run.pth", tmp_path / "out.pth", to="mmdet", image_size=(64, 64)
    )
    build = export.metadata["build"]
    assert (build["type"], tuple(build["out_indices"])) == ("mmssl.LRNet", (0, 1, 2, 3))


@pytest.mark.parametrize("depth", [26, 50])
def test_values_supervised_leaves(depth):
    config = load_config(ROOT / f"configs/lrnet/lrnet{depth}_8xb64-coslr-100e_in1k.py")
    with torch.device("meta"):
        model = MODELS.build(config.model.to_dict())
    assert isinstance(model.backbone, LRNet) and not isinstance(model.backbone, ResNet)
    parameters = sum(each.numel() for each in model.backbone.parameters())
    assert parameters + 2_049_000 == {26: 14_620_130, 50: 23_395_768}[depth]
