"""All protocols on frozen features, on a tiny drawn Shapes, through tools/test.py and its configs."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from mmssl.datasets.shapes import draw_shapes
from mmssl.engine.config import load_config
from mmssl.evaluation import labelled_sets
from mmssl.evaluation.evaluate import evaluate_backbone, evaluation_plan
from mmssl.evaluation.features import Features, extract_features
from tests.helpers.runs import ROOT

pytestmark = pytest.mark.integration

BENCHMARKS = ROOT / "configs/benchmarks"
CLASSIFY = BENCHMARKS / "shapes_classification/resnet18_shapes.py"
CLUSTER = BENCHMARKS / "shapes_clustering/resnet18_cluster_shapes.py"
SVM = BENCHMARKS / "shapes_classification/resnet18_svm_shapes.py"
QUICK = {
    "evaluation.cluster.clusterer": dict(type="KMeans", iterations=5, restarts=1),
    "evaluation.num_workers": 0,
}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shapes")
    draw_shapes(
        root,
        size=48,
        scene_size=64,
        num_unlabelled=1,
        num_classify_train=72,
        num_classify_val=48,
        num_scenes_train=30,
        num_scenes_val=16,
        num_workers=1,
    )
    return root


def options(shapes: Path, kind: str) -> dict[str, Any]:
    """Overrides of a config: where the images are, no workers."""
    root = str(shapes / kind)
    parts = ("train", "val")
    found = {f"evaluation.{part}_dataset.root": root for part in parts}
    if kind == "classify":
        found = {f"evaluation.{part}_dataset.root": f"{root}/{part}" for part in parts}
    return found | {"evaluation.num_workers": 0}


def test_values_one_pass_over_the_images_for_all_protocols(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    passes = []

    def counted(*args: Any, **kwargs: Any) -> Features:
        found = extract_features(*args, **kwargs)
        passes.append(len(found.labels))
        return found

    monkeypatch.setattr(labelled_sets, "extract_features", counted)
    tool, out = str(ROOT / "tools/test.py"), tmp_path / "out.json"
    overrides = [f"{key}={value}" for key, value in options(shapes, "classify").items()]
    overrides += ["evaluation.linear.lrs=[0.1]", "evaluation.linear.epochs=2"]
    overrides += ["evaluation.cluster.hierarchy=shapes", "evaluation.cluster.tree=[24,12,4]"]
    arguments = [CLASSIFY, "none", "--knn", "--linear", "--svm", "--low-shot", "1", "2"]
    arguments += ["--cluster", "--num-clusters", "24", "4", "--device", "cpu", "--out", out]
    monkeypatch.setattr(sys, "argv", [tool, *map(str, arguments), "--cfg-options", *overrides])
    runpy.run_path(tool, run_name="__main__")
    assert passes == [72, 48]

    record = json.loads(out.read_text())
    results = record["results"]
    assert set(results) == {"knn", "linear", "svm", "cluster"}
    assert record["feature_dims"] == dict.fromkeys(results, 512)
    assert (record["num_train"], record["num_val"], record["num_classes"]) == (72, 48, 24)
    assert list(results["svm"]["low_shot"]) == ["1", "2"]
    assert len(results["svm"]["low_shot"]["2"]["runs"]) == 5
    assert len(results["svm"]["per_class"]) == 24
    assert list(results["cluster"]["flat"]) == ["24", "4"]
    assert results["cluster"]["split"] == "val"
    assert list(results["cluster"]["tree"]["dendrogram_purity"]) == ["variety", "species", "family"]
    table = capsys.readouterr().out
    for words in ("k-NN, k=10", "linear probe", "all 72 images", "k=2", "against species", "tau-b"):
        assert words in table


def test_values_scenes_with_several_classes(shapes: Path) -> None:
    config = load_config(SVM, options(shapes, "voc") | {"evaluation.svm.low_shot": [1]})
    plan = evaluation_plan(config)
    record = evaluate_backbone(config, None, plan=plan)
    svm = record["results"]["svm"]
    assert set(record["results"]) == {"svm"}
    assert (record["num_train"], record["num_val"], record["num_classes"]) == (30, 16, 12)
    assert svm["top1"] is None
    assert 0 < svm["mean_ap"] < 100
    with pytest.raises(ValueError, match=r"Clustering needs one class per image.*--svm"):
        evaluate_backbone(config, None, plan=plan, methods=["cluster"])


def test_values_clusters_of_either_split(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the images that are clustered are looked at."""
    config = load_config(CLUSTER, options(shapes, "classify") | QUICK)
    record = evaluate_backbone(config, None, plan=evaluation_plan(config))
    found = record["results"]["cluster"]
    assert (record["num_val"], found["num_images"], found["split"]) == (48, 48, "val")
    assert "num_train" not in record
    assert list(found["flat"]) == [24, 12, 4]
    assert found["tree"]["num_nonempty"][2] == 4

    train = {"evaluation.cluster.split": "train", "evaluation.cluster.tree": []}
    config = load_config(CLUSTER, options(shapes, "classify") | QUICK | train)
    found = evaluate_backbone(config, None, plan=evaluation_plan(config, num_clusters=[6]))
    assert found["results"]["cluster"]["num_images"] == 72
    assert list(found["results"]["cluster"]["flat"]) == [6]
    assert found["results"]["cluster"]["tree"] is None
    assert "num_val" not in found
