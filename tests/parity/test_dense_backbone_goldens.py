"""A convolutional network's view and regions as EsViT takes them: the last map and its mean."""

from __future__ import annotations

import pytest
import torch

from mmssl.convert.key_map import Rename, rename_keys
from mmssl.models.backbones import ResNet
from tests.helpers.goldens import Golden
from tests.helpers.multi_crop import check_views_and_regions, load_filled

pytestmark = pytest.mark.parity
# torchvision's names, which are ours, behind EsViT's two wrappers
RULES = [Rename("backbone.backbone.{rest}", "{rest}")]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_of_esvits_resnet(dtype: torch.dtype) -> None:
    golden = Golden("esvit", "resnet18_dense")
    network = ResNet(18)
    load_filled(
        network,
        lambda state: rename_keys(state, RULES, backward=True),
        lambda state: rename_keys(state, RULES),
    )
    check_views_and_regions(golden, network.to(dtype).eval(), dtype)
