"""Clustering, its memories and a step of HCSC on a GPU against the same on a CPU."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from mmssl.models.memories import FeatureBank, Prototypes
from mmssl.ops import nearest_centroid, row_reader
from mmssl.ops.clusterer import KMeansResult
from mmssl.ops.kmeans import KMeans
from mmssl.ops.precision import full_float32
from tests.helpers.golden_inputs import mixture
from tests.helpers.tiny import tiny_clustering, tiny_model, tiny_views, total_loss
from tests.helpers.tolerance import FLOAT32_FORWARD, FLOAT64

pytestmark = pytest.mark.gpu
DEVICE = "cuda"
SAMPLE = pytest.mark.parametrize("max_points", [1000, 40], ids=["all_rows", "sample"])


@pytest.fixture(autouse=True)
def as_before(monkeypatch) -> Iterator[None]:
    """Small tiles, so that there are several chunks; torch's precision as it was."""
    monkeypatch.setattr(nearest_centroid, "TILE_ROWS_OF_ACCELERATOR", 512)
    precision = torch.get_float32_matmul_precision()
    yield
    if hasattr(torch.backends.cuda.matmul, "fp32_precision"):
        torch.backends.cuda.matmul.fp32_precision = "none"
    torch.set_float32_matmul_precision(precision)


def rows() -> Tensor:
    """(3000, 16) unit rows around 50 centres, on the CPU.

    When 30 clusters of them are searched, the second centroid is farther by 4e-5 at least, which is more than
    any rounding: the clusters are the same everywhere.
    """
    return mixture("gpu", 3000, 16, 50, 0.3)


def clusterer(max_points: int = 1000, device: str = DEVICE) -> KMeans:
    options = dict(iterations=8, restarts=2, chunk=512, max_points_per_centroid=max_points)
    return KMeans(**options, device=device)


def assert_same_bits(found: KMeansResult, expected: KMeansResult) -> None:
    assert found.history == expected.history
    for name in ("centroids", "assignment", "distances", "counts"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name


@SAMPLE
def test_equivalence_of_kmeans_with_the_cpu(max_points) -> None:
    expected = clusterer(max_points, "cpu").fit(rows(), 30, seed=0)
    found = clusterer(max_points).fit(rows(), 30, seed=0)
    assert found.centroids.device.type == found.assignment.device.type == DEVICE
    assert torch.equal(found.assignment.cpu(), expected.assignment)
    assert found.objective == pytest.approx(expected.objective, rel=1e-5)
    torch.testing.assert_close(found.centroids.cpu(), expected.centroids, **FLOAT32_FORWARD)


@SAMPLE
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_equivalence_of_moved_staged_and_given_rows(max_points, dtype, monkeypatch) -> None:
    features = rows().to(dtype)
    moved = clusterer(max_points).fit(features, 30, seed=0)
    assert_same_bits(clusterer(max_points).fit(features.to(DEVICE), 30, seed=0), moved)
    sample = 40 * 30 * 16 * dtype.itemsize
    for room in (0, sample):
        monkeypatch.setattr(row_reader, "room_on", lambda device, room=room: room)
        assert_same_bits(clusterer(max_points).fit(features, 30, seed=0), moved)


@pytest.mark.parametrize("way", ["old", "new"])
def test_equivalence_of_kmeans_under_tf32(way) -> None:
    expected = clusterer().fit(rows(), 30, seed=0)
    matmul = torch.backends.cuda.matmul
    if way == "old":
        torch.set_float32_matmul_precision("high")
    elif hasattr(matmul, "fp32_precision"):
        matmul.fp32_precision = "tf32"
    else:
        pytest.skip("torch < 2.9 has the old way only")
    assert_same_bits(clusterer().fit(rows(), 30, seed=0), expected)
    values = rows().to(DEVICE)
    with full_float32(values.device):
        product = values @ values.T
    exact = values.double() @ values.double().T
    # TF32 has 10 bits: it would be wrong by some 1e-4
    assert float((product - exact).abs().max()) < 1e-6


def hcsc_step(device: str) -> dict[str, Tensor]:
    """Losses, gradients and state of a step in float64, where the ways to sum hardly differ."""
    model = tiny_model("hcsc").double().to(device)
    model.draw = lambda probability: torch.full_like(probability, 0.5)
    views = tiny_views()
    views = views._replace(
        images=[image.double().to(device) for image in views.images],
        index=views.index.to(device),
        label=views.label.to(device),
    )
    losses = model(views, mode="loss")
    total_loss(losses).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    found = {**losses, **{f"grad/{name}": value for name, value in gradients.items()}}
    found |= {f"state/{name}": value for name, value in model.state_dict().items()}
    return {name: value.detach().cpu() for name, value in found.items()}


def test_equivalence_of_a_step_of_hcsc_with_the_cpu() -> None:
    expected, found = hcsc_step("cpu"), hcsc_step(DEVICE)
    assert any(name.startswith("loss_proto") for name in found)
    assert any(name.startswith("grad/backbone") for name in found)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], **FLOAT64, msg=name)


def test_equivalence_of_prototypes_with_the_cpu() -> None:
    keys = mixture("gpu/keys", 20, 8, 4, 0.5)
    answers = []
    for device in ("cpu", DEVICE):
        prototypes = Prototypes((6, 4, 2), 8).to(device)
        prototypes.load(tiny_clustering(), epoch=3)
        assert {buffer.device.type for buffer in prototypes.buffers()} == {device}
        assigned = prototypes.assign(torch.tensor([0, 7, 11], device=device))
        here = keys.to(device)
        partition = torch.stack([level.log_partition(here) for level in prototypes.levels])
        keep = prototypes.keep_keys(here, assigned, log_partition=partition)
        kin = prototypes.keep_kin(0, assigned[1])
        answers.append([assigned.cpu(), partition.cpu(), keep.cpu(), kin.cpu()])
    for found, expected in zip(*reversed(answers), strict=True):
        torch.testing.assert_close(found, expected, **FLOAT32_FORWARD)


def test_equivalence_of_a_feature_bank_with_the_cpu() -> None:
    torch.manual_seed(0)
    expected = FeatureBank(12, 8, momentum=0.5)
    found = FeatureBank(12, 8, momentum=0.5)
    found.load_state_dict(expected.state_dict())
    found.to(DEVICE)
    features = mixture("gpu/bank", 5, 8, 2, 0.5)
    index = torch.tensor([3, 0, 3, 11, 4])  # an image twice: its last feature counts
    expected.update(index, features)
    found.update(index.to(DEVICE), features.to(DEVICE))
    torch.testing.assert_close(found.features.cpu(), expected.features, **FLOAT32_FORWARD)
