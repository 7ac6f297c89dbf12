"""Swin against the official EsViT: features at several sizes, attention, gradients, keys."""

from __future__ import annotations

import re

import pytest
import torch
from mmengine.registry import MODELS as ROOT_MODELS

from mmssl.convert import load_backbone
from mmssl.convert.official.swin import swin_from_official, swin_to_official
from mmssl.convert.swin_targets import mm_swin_config
from mmssl.models.backbones import Swin
from tests.helpers.fill import fill, image
from tests.helpers.goldens import Golden, official_keys
from tests.helpers.multi_crop import crops, load_filled, views_and_regions

pytestmark = pytest.mark.parity
BASE = dict(embed_dims=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32))
CASES = ["swin_w7", "swin_w14", "swin_w5_160", "swin_w7_global_only"]


def built(golden: Golden) -> Swin:
    """Our network of a case, with the filled weights through our converter."""
    text = golden.entry["built"].split(" -> ")[0]

    def number(name: str) -> int:
        return int(re.search(rf"\b{name}[= ](\d+)", text)[1])

    def row(name: str) -> tuple[int, ...]:
        found = re.search(rf"\b{name}=[\[(]([\d, ]+)[\])]", text)[1]
        return tuple(int(part) for part in found.split(","))

    network = Swin(
        number("embed_dim"),
        depths=row("depths"),
        num_heads=row("num_heads"),
        window_size=number("window_size"),
        pretrain_img_size=number("img_size"),
        drop_path_rate=0.0,
        qkv_bias="qkv_bias=False" not in text,
        patch_norm="patch_norm=False" not in text,
    )
    load_filled(network, swin_to_official, swin_from_official)
    return network


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", CASES)
def test_values_forward(case: str, dtype: torch.dtype) -> None:
    golden = Golden("esvit", case)
    network = built(golden).to(dtype).eval()
    groups = crops(golden, dtype)
    with torch.no_grad():
        views, regions, _ = views_and_regions(network, groups)
        golden.check("pooled", views)
        golden.check("region", regions)
        first = groups[0][: golden.entry["inputs"][0][1][0]]
        count = golden.entry["arrays"]["n_last"]["meaning"].split("n=")[1][0]
        golden.check("n_last", network.last_blocks(first, int(count)))
        golden.check("last_attn", network.last_attention(first))


@pytest.mark.parametrize("case", ["swin_w7_grads", "swin_w14_grads"])
def test_values_gradients(case: str) -> None:
    golden = Golden("esvit", case)
    network = built(golden).train()
    views, regions, _ = views_and_regions(network, crops(golden, torch.float32))
    probes = [
        image(f"{case}/probe_{name}", value.shape)
        for name, value in (("pooled", views), ("region", regions))
    ]
    loss = (views * probes[0]).sum() + 0.1 * (regions * probes[1]).sum()
    loss.backward()
    golden.check("loss", loss)
    gradients = swin_to_official({name: p.grad for name, p in network.named_parameters()})
    named = torch.stack([gradients[name].norm() for name in golden.entry["parameters"]])
    golden.check("grad_norms", named)
    golden.check("grad_all_norm", torch.stack([g.norm() for g in gradients.values()]).norm())
    golden.check("grad_rel_bias", gradients["layers.0.blocks.1.attn.relative_position_bias_table"])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("esvit_swin_tiny_w7", {}),
        ("esvit_swin_tiny_w14", dict(window_size=14)),
        ("esvit_swin_small_w7", dict(depths=(2, 2, 18, 2))),
        ("esvit_swin_small_w14", dict(depths=(2, 2, 18, 2), window_size=14)),
        ("esvit_swin_base_w7", dict(BASE)),
        ("esvit_swin_base_w14", dict(BASE, window_size=14)),
    ],
)
def test_state_official_keys_are_complete(name: str, options: dict) -> None:
    """Every key of the published backbones has a place of its shape, and the way back gives all of them."""
    listed = dict(official_keys("esvit")[name]["keys"])
    wanted = {key: shape for key, shape in listed.items() if not key.startswith("head")}
    with torch.device("meta"):
        network = Swin(**options)
        state = {key: torch.empty(shape) for key, shape in wanted.items()}
    ours = swin_from_official(state)
    expected = {key: value.shape for key, value in network.state_dict().items()}
    assert {key: value.shape for key, value in ours.items()} == expected
    back = swin_to_official(ours)
    assert set(back) == {key for key in wanted if not key.endswith("relative_position_index")}


def test_state_round_trip() -> None:
    torch.manual_seed(0)
    network = Swin(8, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2))
    state = {key: torch.randn_like(value) for key, value in network.state_dict().items()}
    back = swin_from_official(swin_to_official(state))
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)


@pytest.mark.downstream
@pytest.mark.parametrize("library", ["mmdet", "mmseg"])
@pytest.mark.parametrize("case", ["swin_to_mmdet", "swin_to_mmdet_w14"])
def test_values_in_the_families_backbone(case: str, library: str) -> None:
    """Our names are theirs: their own Swin takes the state dict and computes what the golden says."""
    golden = Golden("esvit", case)
    ours = built(golden)
    structure = mm_swin_config(ours, library)
    network = ROOT_MODELS.build({**structure, "drop_path_rate": 0.0})
    network.eval()
    report = load_backbone(network, ours.state_dict())
    assert len(report.resized) == (2 if case.endswith("w14") else 0)
    state = network.state_dict()
    for name in report.fresh:
        state[name].copy_(fill(name, state[name].shape))
    name, shape = golden.entry["inputs"][0]
    with torch.no_grad():
        for stage, one in enumerate(network(image(name, shape))):
            golden.check(f"out{stage}", one)
    golden.check("reduction0", state["stages.0.downsample.reduction.weight"])
    golden.check("merge_norm0", state["stages.0.downsample.norm.weight"])
