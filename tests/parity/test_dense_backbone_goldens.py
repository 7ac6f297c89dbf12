"""A convolutional network's view and regions as EsViT takes them: the last map and its mean."""

from __future__ import annotations

import pytest
import torch

from mmssl.models.backbones import ResNet
from tests.helpers.goldens import Golden
from tests.helpers.multi_crop import check_views_and_regions, load_filled

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_of_esvits_resnet(dtype: torch.dtype) -> None:
    """torchvision's names are ours: the state dict needs no converter."""
    golden = Golden("esvit", "resnet18_dense")
    network = ResNet(18)
    load_filled(network, dict, dict)
    check_views_and_regions(golden, network.to(dtype).eval(), dtype)
