"""CvT against the official EsViT: features at several sizes, the linear probe's features, keys."""

from __future__ import annotations

import re

import pytest
import torch

from mmssl.convert.official.cvt import cvt_from_official, cvt_to_official
from mmssl.models.backbones import CvT
from tests.helpers.goldens import Golden, official_keys
from tests.helpers.multi_crop import check_views_and_regions, first_input, load_filled

pytestmark = pytest.mark.parity


def built(golden: Golden) -> CvT:
    """Our network of a case, with the filled weights through our converter."""
    text = golden.entry["built"]

    def row(name: str) -> tuple[int, ...]:
        found = re.search(rf"\b{name}=\[([\d, ]+)\]", text)[1]
        return tuple(int(part) for part in found.split(","))

    network = CvT(
        row("DIM_EMBED"),
        depths=row("DEPTH"),
        num_heads=row("NUM_HEADS"),
        window_sizes=row("WINDOW_SIZE"),
    )
    load_filled(network, cvt_to_official, cvt_from_official)
    return network.eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", ["cvt", "cvt_shallow_w14"])
def test_values_forward(case: str, dtype: torch.dtype) -> None:
    golden = Golden("esvit", case)
    network = built(golden).to(dtype)
    check_views_and_regions(golden, network, dtype)
    count = golden.entry["arrays"]["n_last"]["meaning"].split("n=")[1][0]
    with torch.no_grad():
        golden.check("n_last", network.last_blocks(first_input(golden, dtype), int(count)))


def test_state_official_keys_are_complete() -> None:
    """Every key of the published backbone has a place of its shape, and the way back gives all of them."""
    listed = official_keys("esvit")["esvit_cvt_tiny"]
    wanted = {key: torch.Size(shape) for key, shape in listed["keys"] if not key.startswith("head")}
    with torch.device("meta"):
        network = CvT()
        state = {key: torch.empty(shape) for key, shape in wanted.items()}
    ours = cvt_from_official(state)
    expected = {key: value.shape for key, value in network.state_dict().items()}
    assert {key: value.shape for key, value in ours.items()} == expected
    assert {key: value.shape for key, value in cvt_to_official(ours).items()} == wanted
    assert sum(p.numel() for p in network.parameters()) == listed["backbone_parameters"]


def test_raises_foreign_keys() -> None:
    with pytest.raises(KeyError, match="layers.0.blocks"):
        cvt_from_official({"layers.0.blocks.0.norm1.weight": torch.zeros(1)})
