"""Weighted k-NN against `eval_knn.py` of DINO."""

from __future__ import annotations

import pytest
import torch

from mmssl.ops.knn import weighted_knn
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
