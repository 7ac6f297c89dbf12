"""VisionTransformer against the official EsViT and DINO: features at several sizes, attention, keys, timm."""

from __future__ import annotations

import re

import pytest
import timm
import torch

from mmssl.convert.official.vit import vit_from_official, vit_to_official
from mmssl.models.backbones import VisionTransformer
from tests.helpers.goldens import Golden, official_keys
from tests.helpers.multi_crop import (
    check_views_and_regions,
    crops,
    first_input,
    load_filled,
    views_and_regions,
)
from tests.helpers.tolerance import FLOAT64

pytestmark = pytest.mark.parity
SIZES = {
    "esvit_deit_tiny_p16": (dict(embed_dims=192, num_heads=3), 5_524_416),
    "esvit_deit_small_p16": (dict(embed_dims=384, num_heads=6), 21_665_664),
    "esvit_vit_base_p16": (dict(embed_dims=768, num_heads=12), 85_798_656),
    "dino_vit_small_p16": (dict(embed_dims=384, num_heads=6), 21_665_664),
    "dino_vit_small_p8": (dict(embed_dims=384, num_heads=6, patch_size=8), 21_670_272),
    "dino_vit_base_p16": (dict(embed_dims=768, num_heads=12), 85_798_656),
    "dino_vit_base_p8": (dict(embed_dims=768, num_heads=12, patch_size=8), 85_807_872),
}


def built(golden: Golden) -> VisionTransformer:
    """Our network of a case, with the filled weights through our converter."""
    text = golden.entry["built"]

    def number(name: str) -> int:
        return int(re.search(rf"\b{name}=\[?(\d+)", text)[1])

    network = VisionTransformer(
        number("embed_dim"),
        depth=number("depth"),
        num_heads=number("num_heads"),
        patch_size=number("patch_size"),
        pretrain_img_size=number("img_size"),
        pos_interp="dino" if text.startswith("dino") else "esvit",
    )
    load_filled(network, vit_to_official, vit_from_official)
    return network.eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", ["esvit_vit", "esvit_vit_p8"])
def test_values_of_esvit(case: str, dtype: torch.dtype) -> None:
    golden = Golden("esvit", case)
    network = built(golden).to(dtype)
    check_views_and_regions(golden, network, dtype)
    with torch.no_grad():
        features = network.last_blocks(first_input(golden, dtype), 2, patch_mean=True)
    golden.check("n_last", features)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_of_dino(dtype: torch.dtype) -> None:
    golden = Golden("esvit", "dino_vit")
    network = built(golden).to(dtype)
    first = first_input(golden, dtype)
    with torch.no_grad():
        golden.check("pooled", views_and_regions(network, crops(golden, dtype))[0])
        golden.check("inter", network.last_blocks(first, 2))
        golden.check("attn", network.last_attention(first))
        view, regions = network.view_and_map(first)
    rows = regions.flatten(2).transpose(1, 2)
    golden.check("tokens", torch.cat([view[:, None], rows], dim=1))


@pytest.mark.parametrize("name", SIZES)
def test_state_official_keys_are_complete(name: str) -> None:
    """Every key of the published backbones has a place of its shape, and the way back gives all of them."""
    options, parameters = SIZES[name]
    wanted = {
        key.removeprefix("backbone."): torch.Size(shape)
        for key, shape in official_keys("esvit")[name]["keys"]
        if not key.startswith("head")
    }
    with torch.device("meta"):
        network = VisionTransformer(**options)
        state = {key: torch.empty(shape) for key, shape in wanted.items()}
    ours = vit_from_official(state)
    expected = {key: value.shape for key, value in network.state_dict().items()}
    assert {key: value.shape for key, value in ours.items()} == expected
    back = vit_to_official(ours)
    assert {key: value.shape for key, value in back.items()} == wanted
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_raises_foreign_keys() -> None:
    with pytest.raises(KeyError, match="head.weight"):
        vit_from_official({"head.weight": torch.zeros(1)})


@pytest.mark.parametrize("patch_size", [16, 8])
def test_equivalence_timm(patch_size: int) -> None:
    """timm's ViT has the same names and computes the same at the pretraining size."""
    torch.manual_seed(0)
    options = dict(embed_dims=24, depth=2, num_heads=3, patch_size=patch_size)
    ours = VisionTransformer(**options, pretrain_img_size=64).double().eval()
    ours.init_weights()
    theirs = timm.models.VisionTransformer(
        img_size=64, patch_size=patch_size, embed_dim=24, depth=2, num_heads=3, num_classes=0
    )
    theirs.double().eval().load_state_dict(ours.state_dict())
    images = torch.randn(2, 3, 64, 64, dtype=torch.double)
    with torch.no_grad():
        view, regions = ours.view_and_map(images)
        expected = theirs.forward_features(images)
    rows = torch.cat([view[:, None], regions.flatten(2).transpose(1, 2)], dim=1)
    torch.testing.assert_close(rows, expected, **FLOAT64)


def test_equivalence_timm_at_224() -> None:
    torch.manual_seed(0)
    theirs = timm.create_model("deit_tiny_patch16_224", num_classes=0, depth=2).eval()
    ours = VisionTransformer(192, depth=2, num_heads=3).eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(ours.view_and_map(images)[0], theirs(images))
