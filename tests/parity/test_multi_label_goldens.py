"""MultiLabelPrecision against both figures that HCSC's and PCL's codes call mAP on VOC07."""

from __future__ import annotations

import pytest
import torch

from mmssl.evaluation import MultiLabelPrecision
from mmssl.structures import Predictions
from tests.helpers.golden_inputs import unpacked
from tests.helpers.goldens import Golden

pytestmark = pytest.mark.parity


def test_values_of_the_official_codes() -> None:
    golden = Golden("hcsc", "voc_ap")
    scores = torch.from_numpy(golden.arrays["scores"])
    present = torch.as_tensor(unpacked(golden.arrays["targets"], tuple(scores.shape)))
    labels = torch.where(present.bool(), 1, -1).to(torch.int8)
    metric = MultiLabelPrecision(per_class=True)
    for rows in torch.arange(150).split(32):
        metric.process(None, [Predictions(rows, labels[rows], scores[rows])])
    found = metric.evaluate(150)
    tolerance = golden.entry["tolerance"]
    classes = [found[f"multi_label/AP_{number}"] / 100 for number in range(20)]
    assert classes == pytest.approx(golden.arrays["ap_per_class"].tolist(), rel=tolerance)
    assert found["multi_label/mAP"] / 100 == pytest.approx(sum(classes) / 20, rel=tolerance)
    expected = float(golden.arrays["mean_sample_ap"])
    assert found["multi_label/image_mAP"] / 100 == pytest.approx(expected, rel=tolerance)
