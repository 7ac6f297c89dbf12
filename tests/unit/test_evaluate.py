"""Evaluation of a checkpoint on folders, as tools/test.py does it."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmssl.convert.checkpoint_file import file_sha256
from mmssl.engine.config import load_config
from mmssl.evaluation import Features, LinearProbeResult, feature_protocols, linear_probe
from mmssl.evaluation.evaluate import (
    build_backbone,
    evaluate_backbone,
    evaluation_plan,
    write_record,
)
from mmssl.evaluation.result_table import format_results
from mmssl.registry import MODELS
from tests.helpers.monitored import Gratings, TinyBackbone

if "MonitoredBackbone" not in MODELS.module_dict:
    MODELS.register_module(name="MonitoredBackbone", module=TinyBackbone)

PLAN = dict(num_workers=0, knn=dict(k=[3, 5]), linear=dict(lrs=[0.1, 1.0], epochs=3, held_out=0.25))


def config(**changes: Any) -> Config:
    return Config(
        dict(
            default_scope="mmssl",
            model=dict(
                type="BYOL",
                backbone=dict(type="MonitoredBackbone", dim=8),
                data_preprocessor=dict(type="ViewPreprocessor"),
            ),
            evaluation=PLAN,
        )
        | changes
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    root, data = tmp_path_factory.mktemp("labelled"), Gratings(40)
    for index in range(len(data)):
        part = "val" if index % 5 == 0 else "train"
        name = data.classes[data.labels[index]]
        if part == "val" and name == "class1":
            continue  # a class that is missing here shifts the numbers of the others
        folder = root / part / name
        folder.mkdir(parents=True, exist_ok=True)
        image = data[index]["inputs"].images[0].permute(1, 2, 0).numpy()
        Image.fromarray(image).save(folder / f"{index}.png")
    return str(root / "train"), str(root / "val")


def evaluate(folders: tuple[str, str], checkpoint: str | None, **options: Any) -> dict[str, Any]:
    cfg = config()
    plan = evaluation_plan(cfg, train=folders[0], val=folders[1], size=16)
    return evaluate_backbone(cfg, checkpoint, plan=plan, **options)


def test_values_record(folders: tuple[str, str], tmp_path: Path) -> None:
    record = evaluate(folders, None)
    assert record["results"]["knn"].keys() == {"3", "5"}
    assert record["interpolation"] == ["bilinear"]
    assert (record["num_train"], record["num_val"], record["num_classes"]) == (32, 6, 4)
    assert record["weights"]["checkpoint"] is None
    write_record(record, tmp_path / "out" / "results.json")
    assert json.loads((tmp_path / "out" / "results.json").read_text())["seed"] == 0
    table = format_results(record)
    assert "k-NN, k=3" in table
    assert "held_out" in table
    assert evaluate(folders, None) == record  # the same call, the same figures


def test_values_checkpoint_and_branches(folders: tuple[str, str], tmp_path: Path) -> None:
    torch.manual_seed(1)
    online, twin = TinyBackbone(8), TinyBackbone(8)
    state = {f"backbone.{key}": value for key, value in online.state_dict().items()}
    state |= {f"twin.backbone.{key}": value for key, value in twin.state_dict().items()}
    path = tmp_path / "run.pth"
    torch.save(dict(state_dict=state, meta=dict(epoch=7)), path)
    for branch, expected in (("online", online), ("twin", twin)):
        backbone, _, record = build_backbone(config(), str(path), branch=branch)
        assert all(map(torch.equal, backbone.state_dict().values(), expected.state_dict().values()))
        assert record["branch"] == branch
        assert record["epoch"] == 7
    assert len(evaluate(folders, str(path), methods=["knn"])["weights"]["sha256"]) == 64


def test_values_a_file_of_the_authors_tells_its_epochs_and_may_be_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their files state epochs beside the weights; `~` is the home folder; code runs on request alone."""
    monkeypatch.setenv("HOME", str(tmp_path))
    state = {f"module.{key}": value for key, value in TinyBackbone(8).state_dict().items()}
    torch.save(dict(epoch=200, state_dict=state), tmp_path / "theirs.pth")
    record = build_backbone(config(), "~/theirs.pth")[2]
    assert (record["epoch"], record["checkpoint"]) == (200, "~/theirs.pth")
    assert record["sha256"] == file_sha256(tmp_path / "theirs.pth")
    torch.save(dict(state_dict=state, where=tmp_path), tmp_path / "pickled.pth")
    with pytest.raises(PermissionError, match="--trust-pickle"):
        build_backbone(config(), str(tmp_path / "pickled.pth"))
    record = build_backbone(config(), str(tmp_path / "pickled.pth"), trust_pickle=True)[2]
    assert record["epoch"] is None and record["matched"] == len(state)


def test_raises_on_an_incomplete_checkpoint(tmp_path: Path) -> None:
    state = {f"backbone.{key}": value for key, value in TinyBackbone(8).state_dict().items()}
    del state["backbone.layers.3.weight"]
    torch.save(dict(state_dict=state), tmp_path / "bad.pth")
    with pytest.raises(ValueError, match=r"layers\.3\.weight"):
        build_backbone(config(), str(tmp_path / "bad.pth"))


def test_raises_without_images_or_classes(folders: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="--train"):
        evaluation_plan(config())
    train, val = folders
    with pytest.raises(ValueError, match="no training images: class1"):
        evaluate((val, train), None, methods=["knn"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(crop_epoch=3), r"evaluation\.crop_epoch: .* mean 'crop_epochs'"),
        (dict(linear=dict(nestrov=True)), r"evaluation\.linear\.nestrov: .* mean 'nesterov'"),
        (dict(linear=dict(seed=1)), r"evaluation\.linear takes no 'seed'"),
        (dict(knn=dict(temperature_=1.0)), r"evaluation\.knn\.temperature_: .* mean 'temperature'"),
        (dict(svm=dict(cost=1.0)), r"evaluation\.svm\.cost: .* mean 'costs'"),
        (dict(cluster=dict(trees=[2])), r"evaluation\.cluster\.trees: .* mean 'tree'"),
        (dict(methods=["svn"]), r"evaluation\.methods\.svn: .* mean 'svm'"),
        (dict(methods=["cluster"], cluster=dict(split="test")), "'train' or 'val', got 'test'"),
    ],
)
def test_raises_on_keys_of_a_plan_that_nothing_reads(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        evaluation_plan(config(evaluation=PLAN | changes), train="a", val="b")


def test_values_methods_decide_which_images_are_needed() -> None:
    plan = evaluation_plan(config(), methods=["cluster"], val="photos", num_clusters=[7])
    assert plan["methods"] == ["cluster"]
    assert plan["cluster"] == dict(split="val", num_clusters=[7])
    assert "train_dataset" not in plan
    with pytest.raises(ValueError, match="--train"):
        evaluation_plan(config(), methods=["cluster", "svm"], val="photos")
    plan = evaluation_plan(config(), methods=["svm"], train="a", val="b", low_shot=[1, 2])
    assert plan["svm"] == dict(protocol="pcl", low_shot=[1, 2])
    with pytest.raises(ValueError, match="--low-shot is an option of --svm"):
        evaluation_plan(config(), train="a", val="b", low_shot=[1])
    with pytest.raises(ValueError, match="--num-clusters is an option of --cluster"):
        evaluation_plan(config(), train="a", val="b", num_clusters=[3])


@pytest.mark.parametrize(
    ("name", "method", "options"),
    [
        (
            "voc07_classification/resnet50_svm_pcl_voc07",
            "svm",
            dict(protocol="pcl", low_shot=[1, 2, 4, 8, 16], runs=5),
        ),
        (
            "voc07_classification/resnet50_svm_vissl_voc07",
            "svm",
            dict(protocol="vissl", low_shot=[1, 2, 4, 8, 16, 32, 64, 96], runs=5, jobs=8),
        ),
        (
            "shapes_classification/resnet18_svm_shapes",
            "svm",
            dict(protocol="pcl", low_shot=[1, 2, 4, 8], runs=5),
        ),
        (
            "imagenet_clustering/resnet50_cluster_in1k",
            "cluster",
            dict(split="val", num_clusters=[1000]),
        ),
        (
            "shapes_clustering/resnet18_cluster_shapes",
            "cluster",
            dict(split="val", num_clusters=[24, 12, 4], tree=[24, 12, 4], hierarchy="shapes"),
        ),
    ],
)
def test_values_benchmark_configs_of_other_protocols(
    name: str, method: str, options: dict[str, Any]
) -> None:
    root = Path(__file__).resolve().parents[2] / "configs/benchmarks"
    plan = evaluation_plan(load_config(root / f"{name}.py"))
    assert plan["methods"] == [method]
    assert plan[method] == options
    steps = plan["val_dataset"]["views"]["views"][0]["transforms"]
    if "vissl" in name:
        assert [step["size"] for step in steps] == [256, [224, 224]]
    elif "cluster_in1k" in name:
        assert [step.get("interpolation") for step in steps] == ["bicubic", None]
    if "voc07" in name:
        splits = [plan[f"{part}_dataset"]["split"] for part in ("train", "val")]
        assert splits == ["trainval", "test"]


def test_values_linear_options_of_the_config(
    folders: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`evaluation.linear` reaches the probe as it is written."""
    options = dict(
        lrs=[0.1], epochs=3, warmup_epochs=1, nesterov=True, max_grad_norm=1.0, label_smoothing=0.2
    )
    seen: dict[str, Any] = {}

    @functools.wraps(linear_probe)
    def watched(*sets: Features, **given: Any) -> LinearProbeResult:
        seen.update(given)
        return linear_probe(*sets, **given)

    monkeypatch.setattr(feature_protocols, "linear_probe", watched)
    cfg = config(evaluation=PLAN | dict(linear=options))
    plan = evaluation_plan(cfg, train=folders[0], val=folders[1], size=16)
    record = evaluate_backbone(cfg, None, plan=plan, methods=["linear"])
    assert seen == options | dict(seed=0, device="cpu", progress="")
    assert record["plan"]["linear"] == options
    assert len(record["results"]["linear"]["curve"]) == 3


def test_values_random_crops(folders: tuple[str, str]) -> None:
    crop = dict(type="RandomResizedCrop", size=16)
    views = dict(type="MultiView", boxes=None, views=[dict(num=1, transforms=[crop])])
    cfg = config(evaluation=PLAN | dict(crop_views=views, crop_epochs=2))
    plan = evaluation_plan(cfg, train=folders[0], val=folders[1], size=16)
    record = evaluate_backbone(cfg, None, plan=plan, methods=["linear"])
    assert record["results"]["linear"]["num_train"] == 32


@pytest.mark.parametrize(
    "name",
    [
        "imagenet_knn/resnet50_knn_in1k",
        "imagenet_knn/resnet50_knn_hcsc_in1k",
        "imagenet_knn/swin-t_knn_in1k",
        "imagenet_linear/swin-t_esvit_in1k",
        "imagenet_linear/swin-t_moby_in1k",
        "imagenet_linear/vit-small_dino_in1k",
        "imagenet_linear/vit-base_dino_in1k",
        "small_classification/resnet50_logistic",
        "imagenet_linear/resnet50_sweep_in1k",
        "imagenet_linear/resnet50_care_in1k",
        "shapes_classification/resnet18_shapes",
    ],
)
def test_values_benchmark_configs(name: str) -> None:
    root = Path(__file__).resolve().parents[2] / "configs/benchmarks"
    cfg = load_config(root / f"{name}.py")
    plan = evaluation_plan(cfg, k=None if "logistic" in name else [20])
    filled = dict(fill=True) if "hcsc" in name else {}
    if "logistic" in name:
        resize, crop = plan["val_dataset"]["views"]["views"][0]["transforms"]
        assert plan["methods"] == ["logistic"] and plan["logistic"] == {}
        assert (resize["size"], resize["interpolation"], crop["size"]) == (224, "bicubic", 224)
    else:
        assert plan["knn"] == dict(k=[20], temperature=0.07, **filled)
    assert plan["train_dataset"]["views"]["type"] == "MultiView"
    with torch.device("meta"):
        backbone = MODELS.build(cfg.model.backbone)
    assert backbone.out_channels[-1] in (384, 512, 768, 2048)
    if "care" in name:
        assert plan["linear"]["batch_norm"]
        assert plan["linear"]["lrs"] == [0.2]
    if "moby" in name:
        assert plan["linear"] == dict(
            lrs=[0.5], epochs=100, batch_size=512, warmup_epochs=5, nesterov=True,
            label_smoothing=0.1, max_grad_norm=5.0,
        )  # fmt: skip
    blocks = {"esvit": 4, "vit-small_dino": 4, "vit-base_dino": 1}
    expected = [number for part, number in blocks.items() if part in name]
    assert plan.get("last_blocks") == (expected[0] if expected else None)
    assert plan.get("patch_mean", False) == ("vit-base" in name)


def test_values_last_blocks_are_for_the_linear_probe(folders: tuple[str, str]) -> None:
    swin = dict(
        type="Swin", embed_dims=8, depths=(1, 2), num_heads=(1, 1), window_size=2,
        pretrain_img_size=16, out_indices=(1,),
    )  # fmt: skip
    cfg = config(model=dict(type="BYOL", backbone=swin))
    own = dict(train=folders[0], val=folders[1], size=16)
    plain = evaluate_backbone(cfg, None, plan=evaluation_plan(cfg, **own))
    plan = evaluation_plan(cfg, last_blocks=3, **own)
    blocks = evaluate_backbone(cfg, None, plan=plan)
    assert blocks["feature_dims"] == dict(knn=16, linear=8 + 16 + 16)
    assert plain["feature_dims"] == dict(knn=16, linear=16)
    assert blocks["results"]["knn"] == plain["results"]["knn"]
    alone = evaluate_backbone(cfg, None, plan=plan, methods=["linear"])
    assert alone["results"] == dict(linear=blocks["results"]["linear"])

    crop = dict(type="RandomResizedCrop", size=16)
    views = dict(type="MultiView", boxes=None, views=[dict(num=1, transforms=[crop])])
    crops = evaluate_backbone(cfg, None, plan=plan | dict(crop_views=views), methods=["linear"])
    assert crops["feature_dims"] == dict(linear=40)


def test_values_patch_mean_of_a_vit(folders: tuple[str, str]) -> None:
    """DINO's feature of a ViT-B: the class token of the last block and the mean of its patches."""
    vit = dict(
        type="VisionTransformer", embed_dims=8, depth=2, num_heads=1, patch_size=4,
        pretrain_img_size=16, out_indices=(-1,),
    )  # fmt: skip
    cfg = config(model=dict(type="DINO", backbone=vit), evaluation=dict(patch_mean=True))
    own = dict(train=folders[0], val=folders[1], size=16)
    plan = evaluation_plan(cfg, last_blocks=1, **own)
    found = evaluate_backbone(cfg, None, plan=plan)
    assert found["feature_dims"] == dict(knn=8, linear=16)
    with pytest.raises(ValueError, match="patch_mean is an option of last_blocks"):
        evaluation_plan(cfg, **own)
    swin = dict(
        type="Swin", embed_dims=8, depths=(1, 1), num_heads=(1, 1), window_size=2,
        pretrain_img_size=16, out_indices=(1,),
    )  # fmt: skip
    cfg = config(model=dict(type="DINO", backbone=swin), evaluation=dict(patch_mean=True))
    with pytest.raises(ValueError, match="last_blocks of Swin takes none"):
        evaluate_backbone(cfg, None, plan=plan)


def test_values_logistic_regression_in_the_record(folders: tuple[str, str]) -> None:
    cfg = config(evaluation=dict(logistic=dict(penalties=[1.0, 10.0])))
    plan = evaluation_plan(cfg, methods=["logistic"], train=folders[0], val=folders[1], size=16)
    record = evaluate_backbone(cfg, None, plan=plan)
    found = record["results"]["logistic"]
    assert found["penalty"] in (1.0, 10.0)
    assert found["metric"] == "top1" and found["num_val"] == record["num_val"]
    table = format_results(record)
    assert f"logistic regr.    {found['top1']:.2f}" in table
    assert f"mean per class {found['mean_per_class']:.2f}; penalty {found['penalty']:g}" in table


def test_raises_without_last_blocks(folders: tuple[str, str]) -> None:
    cfg = config()
    plan = evaluation_plan(cfg, train=folders[0], val=folders[1], size=16, last_blocks=4)
    with pytest.raises(ValueError, match="TinyBackbone has no method last_blocks"):
        evaluate_backbone(cfg, None, plan=plan)


def test_values_config_of_the_checkpoint(tmp_path: Path) -> None:
    """Without a config the one inside the file says which network its weights are for."""
    model = MODELS.build(dict(type="MonitoredBackbone", dim=8))
    state = {f"backbone.{key}": value for key, value in model.state_dict().items()}
    path = tmp_path / "run.pth"
    torch.save(dict(state_dict=state, meta=dict(cfg=config().pretty_text)), path)
    backbone, _, record = build_backbone(None, str(path))
    assert record["matched"] == len(state)
    assert all(map(torch.equal, backbone.state_dict().values(), model.state_dict().values()))
    torch.save(dict(state_dict=state), path)
    with pytest.raises(ValueError, match="carries no config"):
        build_backbone(None, str(path))
    with pytest.raises(ValueError, match="needs a config"):
        build_backbone(None, None)
