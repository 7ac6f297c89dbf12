"""What is wrong with an evaluation is told before any feature is computed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config
from PIL import Image

from mmssl.datasets.bad_files import TooManyBadFilesError
from mmssl.evaluation import labelled_sets
from mmssl.evaluation.evaluate import evaluate_backbone, evaluation_plan
from mmssl.evaluation.result_table import format_results
from mmssl.registry import MODELS
from tests.helpers.monitored import TinyBackbone

if "MonitoredBackbone" not in MODELS.module_dict:
    MODELS.register_module(name="MonitoredBackbone", module=TinyBackbone)

CLASSES = ("ant", "bee", "cat")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Training images: 2 of an ant, 3 of a bee, 4 of a cat; validation images: one of each, 2 of a bee."""
    root = tmp_path_factory.mktemp("counted")
    for part, counts in (("train", (2, 3, 4)), ("val", (1, 2, 1)), ("other", (1, 1, 0))):
        for number, (name, count) in enumerate(zip(CLASSES, counts, strict=True)):
            name = "dog" if (part, name) == ("other", "bee") else name
            for index in range(count):
                (root / part / name).mkdir(parents=True, exist_ok=True)
                colour = (80 * number, 40 * index, 90)
                Image.new("RGB", (20, 20), colour).save(root / part / name / f"{index}.png")
    return root


def plan_of(
    folder: Path, method: str, options: dict[str, Any], *, val: str = "val", **given: Any
) -> tuple[Config, dict[str, Any]]:
    model = dict(type="BYOL", backbone=dict(type="MonitoredBackbone", dim=8))
    evaluation = {"num_workers": 0, method: options} if options else {"num_workers": 0}
    config = Config(dict(default_scope="mmssl", model=model, evaluation=evaluation))
    sets = dict(train=str(folder / "train"), val=str(folder / val))
    return config, evaluation_plan(config, methods=[method], size=16, **sets, **given)


@pytest.mark.parametrize(
    ("method", "options", "words"),
    [
        ("svm", dict(protocol="vis"), r"evaluation\.svm: .* one of pcl, vissl, fair, got 'vis'"),
        ("logistic", dict(penalties=[0.0]), r"evaluation\.logistic: .* penalties above 0"),
        ("logistic", dict(penalties=3), r"evaluation\.logistic\.penalties must be a list"),
        ("svm", dict(low_shot=[0]), r"evaluation\.svm: .* low_shot >= 1"),
        ("svm", dict(low_shot=4), r"evaluation\.svm\.low_shot must be a list .* \[4\], got 4"),
        ("svm", dict(costs=[0.0]), "costs above 0"),
        ("cluster", dict(tree=[12, 24]), r"evaluation\.cluster: .* get smaller"),
        ("cluster", dict(tree=[3, 0]), "tree must be numbers of at least 1"),
        ("cluster", dict(num_clusters=[0]), "num_clusters must be numbers of at least 1"),
        ("cluster", dict(num_clusters="ten"), "must be a list of numbers"),
        ("knn", dict(k=[10, 0]), r"evaluation\.knn: .* k >= 1"),
        ("knn", dict(k=[]), r"one or more k"),
        ("knn", dict(temperature=0.0), "temperature above 0"),
    ],
)
def test_raises_on_options_in_the_plan(
    method: str, options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    """Before a folder is looked at."""
    with pytest.raises(ValueError, match=words):
        plan_of(tmp_path / "nowhere", method, options)


def test_values_options_of_other_methods_do_not_matter() -> None:
    broken = dict(svm=dict(protocol="vis"), cluster=dict(tree=[1, 2]))
    config = Config(dict(model=dict(), evaluation=broken))
    assert evaluation_plan(config, methods=["knn"], train="a", val="b")["svm"] == broken["svm"]


@pytest.mark.parametrize(
    ("method", "options", "words"),
    [
        ("svm", dict(low_shot=[1, 3]), "Low-shot .* class ant has 2. Ask for at most 2"),
        ("svm", dict(protocol="vissl"), "needs 3 training .* class ant has 2"),
        ("cluster", dict(num_clusters=[2, 5]), "5 clusters need at least as many images, got 4"),
        ("cluster", dict(tree=[200, 2]), "200 clusters need at least as many images, got 4"),
        ("cluster", dict(hierarchy="foo"), "'foo' is neither 'shapes' nor a file"),
        ("cluster", dict(hierarchy="shapes"), "no group for 3 of the 3 classes"),
    ],
)
def test_raises_on_images_before_features(
    method: str,
    options: dict[str, Any],
    words: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(labelled_sets, "extract_features")
    config, plan = plan_of(folder, method, options)
    with pytest.raises(ValueError, match=words):
        evaluate_backbone(config, None, plan=plan)


def test_raises_on_classes_before_features(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(labelled_sets, "extract_features")
    config, plan = plan_of(folder, "knn", {}, val="other")
    with pytest.raises(ValueError, match="no training images: dog"):
        evaluate_backbone(config, None, plan=plan)
    groups = dict.fromkeys(CLASSES[:2], "animal")
    (tmp_path / "levels.json").write_text(json.dumps(dict(kind=groups)))
    config, plan = plan_of(folder, "cluster", dict(hierarchy=str(tmp_path / "levels.json")))
    with pytest.raises(ValueError, match=r"no group for 1 of the 3 classes: cat"):
        evaluate_backbone(config, None, plan=plan)


def test_values_all_vote_where_k_is_larger_than_the_set(folder: Path) -> None:
    config, plan = plan_of(folder, "knn", dict(k=[9, 10]))
    record = evaluate_backbone(config, None, plan=plan)
    assert record["results"]["knn"]["9"]["top1"] == record["results"]["knn"]["10"]["top1"]
    _, nine, ten = format_results(record).splitlines()
    assert "all vote" not in nine
    assert ten.endswith("there are only 9 training images: all vote")


def test_values_unreadable_images_are_counted_or_refused(folder: Path, tmp_path: Path) -> None:
    for part in ("train", "val"):
        for path in (folder / part).rglob("*.png"):
            copy = tmp_path / path.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    (tmp_path / "val/bee/1.png").write_bytes(b"no image")
    config, plan = plan_of(tmp_path, "knn", dict(k=[3]))
    with pytest.raises(TooManyBadFilesError, match=r"1\.png"):
        evaluate_backbone(config, None, plan=plan)
    plan["val_dataset"]["max_bad_ratio"] = 0.5
    record = evaluate_backbone(config, None, plan=plan)
    assert (record["num_val"], record["num_val_unreadable"]) == (3, 1)
    assert (record["num_train"], record["num_train_unreadable"]) == (9, 0)
    table = format_results(record)
    assert table.endswith("1 validation image(s) could not be read and do not count.")
    assert "training image(s)" not in table


@pytest.mark.parametrize(
    "name",
    [
        "imagenet_knn/resnet50_knn_in1k",
        "imagenet_knn/resnet50_knn_hcsc_in1k",
        "imagenet_knn/swin-t_knn_in1k",
        "imagenet_clustering/resnet50_cluster_in1k",
        "shapes_clustering/resnet18_cluster_shapes",
        "shapes_classification/resnet18_shapes",
        "shapes_classification/resnet18_svm_shapes",
        "voc07_classification/resnet50_svm_pcl_voc07",
        "voc07_classification/resnet50_svm_vissl_voc07",
    ],
)
def test_values_configs_refuse_unreadable_images(name: str) -> None:
    root = Path(__file__).resolve().parents[2] / "configs/benchmarks"
    plan = evaluation_plan(Config.fromfile(root / f"{name}.py"))
    assert [plan[f"{part}_dataset"]["max_bad_ratio"] for part in ("train", "val")] == [0.0, 0.0]
    views = str(plan["val_dataset"]["views"])
    if "knn" in plan["protocol"]:
        assert ("bicubic" in views) == ("bilinear" not in plan["protocol"])
