"""Weighted k-NN against `eval_knn.py` of DINO and of EsViT."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from mmssl.ops.knn import nearest_neighbors, neighbor_votes, weighted_knn, weighted_knn_predict
from tests.helpers.fill import image
from tests.helpers.goldens import Golden

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("chunks", [{}, dict(query_chunk=7, bank_chunk=33)])
def test_values_dino(chunks: dict) -> None:
    golden = Golden("baselines", "knn_a")
    labels = {n: torch.from_numpy(golden.arrays[f"{n}_labels"]) for n in ("train", "test")}
    centres = image("knna/centres", (12, 32))
    bank = centres[labels["train"]] + 3 * image("knna/train", (600, 32))
    queries = centres[labels["test"]] + 3 * image("knna/test", (200, 32))
    accuracy = weighted_knn(
        queries, labels["test"], bank, labels["train"], k=[1, 10, 20, 200], num_classes=12, **chunks
    )
    golden.check("top1_top5", torch.tensor([list(row) for row in accuracy.values()]).double())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_esvit(dtype: torch.dtype) -> None:
    golden = Golden("esvit", "knn")
    prototypes = image("knn/prototypes", (7, 16)).to(dtype)
    labels = {n: torch.from_numpy(golden.arrays[f"{n}_labels"]) for n in ("train", "test")}
    rows = {
        name: F.normalize(prototypes[own] + 1.2 * image(f"knn/{name}", (len(own), 16)).to(dtype))
        for name, own in labels.items()
    }
    similarities, positions = nearest_neighbors(rows["test"], rows["train"], k=20)
    neighbors = labels["train"][positions]
    accuracy, filled = (
        weighted_knn(
            rows["test"],
            labels["test"],
            rows["train"],
            labels["train"],
            k=[10, 20],
            num_classes=7,
            fill=fill,
        )
        for fill in (False, True)
    )
    for k in (10, 20):
        nearest, own = similarities[:, :k], neighbors[:, :k]
        votes = neighbor_votes(nearest, own, num_classes=7)
        golden.check(f"votes_{k}", votes * (nearest[:, :1].double() / 0.07).exp())
        predicted = weighted_knn_predict(nearest, own, num_classes=7, k=k)
        golden.check(f"prediction_{k}", predicted[:, 0])
        golden.check(f"top1_{k}", accuracy[k].top1)
        golden.check(f"top5_{k}", filled[k].top5)
        # Theirs fills the best five with classes without a vote; such a class is no prediction of ours.
        unheard = (votes[torch.arange(150), labels["test"]] == 0) & ((votes > 0).sum(1) < 5)
        theirs = float(golden.arrays[f"top5_{k}"])
        lucky = theirs - accuracy[k].top5
        assert -2e-4 <= lucky <= unheard.double().mean().item() * 100 + 2e-4
