"""Evaluation of HCSC, PCL and VISSL: average precision, k-NN, scores of clusterings, mined negatives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmssl.evaluation.average_precision import average_precision
from mmssl.evaluation.clustering import score_clusters
from mmssl.evaluation.mining import mining_counts
from mmssl.ops.knn import weighted_knn
from tests.helpers.golden_inputs import mixture, unpacked
from tests.helpers.goldens import Golden

pytestmark = pytest.mark.parity


def tensor(golden: Golden, name: str) -> torch.Tensor:
    return torch.from_numpy(golden.arrays[name])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_average_precision_of_pcl(dtype: torch.dtype) -> None:
    golden = Golden("hcsc", "voc_ap")
    scores = tensor(golden, "scores").to(dtype)
    targets = unpacked(golden.arrays["targets"], scores.shape)
    found = average_precision(scores, targets)
    expected, tolerance = golden.arrays["ap_per_class"], golden.entry["tolerance"]
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=tolerance)
    each = [average_precision(scores[:, c], targets[:, c]).item() for c in range(20)]
    np.testing.assert_allclose(each, found.numpy(), rtol=1e-12)


def test_values_average_precision_of_images() -> None:
    """HCSC's `voc_cls`: the images' own, over the classes; one without a class counts 0."""
    golden = Golden("hcsc", "voc_ap")
    scores = tensor(golden, "scores")
    targets = unpacked(golden.arrays["targets"], scores.shape)
    found = average_precision(scores.T, targets.T, kind="step").nan_to_num(0.0).mean().item()
    tolerance = golden.entry["tolerance"]
    assert found == pytest.approx(golden.arrays["mean_sample_ap"].item(), rel=0, abs=tolerance)


def test_values_average_precision_of_vissl() -> None:
    golden = Golden("baselines", "svm_ap_a")
    golden.check("ap", average_precision(tensor(golden, "scores"), tensor(golden, "targets")))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_knn(dtype: torch.dtype) -> None:
    golden = Golden("hcsc", "knn_small")
    features = mixture("knn_small/all", 800, 16, 12, 1.6).to(dtype)
    labels = tensor(golden, "labels").long()
    ks = golden.arrays["k"].tolist()
    found = weighted_knn(
        features[600:], labels[600:], features[:600], labels[:600], k=ks, num_classes=12, fill=True
    )
    one_image = 100 / 200
    for row, name in enumerate(("top1", "top5")):
        values = [found[k][row] for k in ks]
        np.testing.assert_allclose(values, golden.arrays[name], rtol=0, atol=one_image + 1e-9)


def test_values_mined_negatives() -> None:
    golden = Golden("hcsc", "mining_metrics")
    queries, keys = (tensor(golden, f"{name}_labels").long() for name in ("query", "queue"))
    kept = unpacked(golden.arrays["mask"], (len(queries), len(keys)))
    found = mining_counts(queries, keys, kept).metrics()
    tolerance = golden.entry["tolerance"]
    np.testing.assert_allclose(found, golden.arrays["values"], rtol=0, atol=tolerance)
    halves = [mining_counts(queries[part], keys, kept[part]) for part in (slice(9), slice(9, None))]
    assert halves[0].plus(halves[1]).metrics() == found


def test_values_cluster_scores() -> None:
    golden = Golden("hcsc", "cluster_scores")
    found = score_clusters(tensor(golden, "clusters").long(), tensor(golden, "labels").long())
    tolerance = golden.entry["tolerance"]
    for name, value in (
        ("nmi", found.nmi),
        ("ami", found.ami),
        ("hungarian_acc", found.matching),
    ):
        assert value == pytest.approx(golden.arrays[name].item(), rel=0, abs=tolerance)
