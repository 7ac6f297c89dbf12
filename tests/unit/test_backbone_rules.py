"""Rename rules of ViT, CvT and ViL behind the prefixes of whole checkpoints, both ways."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmssl.convert.key_map import check_complete, rename_keys
from mmssl.convert.official.cvt import cvt_rules, cvt_to_official
from mmssl.convert.official.vil import vil_rules, vil_to_official, with_copies, without_copies
from mmssl.convert.official.vit import vit_rules, vit_to_official
from mmssl.models.backbones import CvT, ViL, VisionTransformer

FOUR = dict(depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1))


def networks() -> dict[str, tuple[nn.Module, object, object]]:
    """Name to network, rules, state dict in the official layout."""
    vit = VisionTransformer(4, depth=2, num_heads=1)
    cvt, vil = CvT((4, 4, 4, 4), **FOUR), ViL((4, 4, 4, 4), **FOUR)
    return {
        "vit": (vit, vit_rules, vit_to_official),
        "cvt": (cvt, cvt_rules, cvt_to_official),
        "vil": (vil, vil_rules, vil_to_official),
    }


@pytest.mark.parametrize("name", ["vit", "cvt", "vil"])
def test_state_behind_prefixes(name):
    network, rules, to_official = networks()[name]
    bare = to_official(network.state_dict())
    theirs = {f"module.backbone.{key}": value for key, value in bare.items()}
    expected = {f"student.{key}": value for key, value in network.state_dict().items()}
    mapping = rules("module.backbone.", "student.")
    ours = rename_keys(without_copies(theirs), mapping)
    check_complete(ours, expected)
    assert all(torch.equal(ours[key], value) for key, value in expected.items())
    back = with_copies(rename_keys(ours, mapping, backward=True))
    check_complete(back, theirs)
    assert all(torch.equal(back[key], value) for key, value in theirs.items())


@pytest.mark.parametrize("name", ["vit", "cvt", "vil"])
def test_raises_keys_of_the_head(name):
    """Nothing slips through: what is no part of the network has to be dropped or mapped by the method."""
    _, rules, _ = networks()[name]
    with pytest.raises(KeyError, match="head.last_layer"):
        rename_keys({"head.last_layer.weight_g": torch.zeros(1)}, rules())


def test_state_final_norm_of_a_shorter_network():
    network = CvT((4, 4, 4, 4), **FOUR, out_indices=(2,))
    theirs = cvt_to_official(network.state_dict(), last_stage=2)
    assert {"norm.weight", "norm.bias"} <= set(theirs)


def test_state_a_vil_without_global_tokens_has_no_second_names():
    network = ViL((4, 4, 4, 4), **FOUR, num_global_tokens=(0, 0, 0, 0))
    assert not [key for key in vil_to_official(network.state_dict()) if "_global" in key]
