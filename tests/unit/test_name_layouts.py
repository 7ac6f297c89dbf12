"""Swin weights of Microsoft, EsViT, MoBY, timm and mmdet in one of ours; what is resized, what is fresh."""

from __future__ import annotations

import argparse

import pytest
import timm
import torch
from torch import Tensor, nn

from mmssl.convert import load_backbone
from mmssl.convert.name_layouts import name_layouts
from mmssl.convert.official.swin import swin_to_official
from mmssl.convert.timm_swin import swin_from_timm, swin_to_timm
from mmssl.models.backbones import ResNet, Swin
from mmssl.registry import MODELS

TINY = dict(embed_dims=8, depths=(1, 2, 1, 2), num_heads=(1, 1, 2, 2), pretrain_img_size=64)


def tiny(seed: int = 0, **changes) -> Swin:
    """A Swin whose tensors are all random, norms too."""
    network = Swin(**{**TINY, **changes})
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return network


def official_file(student: Swin, teacher: Swin) -> dict:
    """What EsViT saves: heads beside the backbones, index buffers, the centres, the arguments."""

    def named(network: Swin, prefix: str) -> dict[str, Tensor]:
        state = swin_to_official(network.state_dict())
        state |= {
            "layers.0.blocks.0.attn.relative_position_index": torch.zeros(9, 9, dtype=torch.long),
            "head.mlp.0.weight": torch.zeros(4, 64),
            "head_dense.last_layer.weight_g": torch.ones(4, 1),
        }
        return {prefix + name: tensor for name, tensor in state.items()}

    return dict(
        student=named(student, "module."),
        teacher=named(teacher, ""),
        epoch=300,
        args=argparse.Namespace(arch="swin_tiny"),
        dino_loss=dict(center=torch.zeros(1, 4), center_grid=torch.zeros(1, 4)),
    )


def assert_equal(network: nn.Module, other: nn.Module) -> None:
    wanted = other.state_dict()
    assert network.state_dict().keys() == wanted.keys()
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, wanted[name]), name


@pytest.mark.parametrize(("branch", "seed"), [("auto", 2), ("online", 1), ("twin", 2)])
def test_values_esvit_file(branch: str, seed: int) -> None:
    content = official_file(tiny(1), tiny(2))
    network = Swin(**TINY)
    report = load_backbone(network, content, branch=branch)
    assert report.complete
    assert "names of Microsoft" in report.layout
    assert_equal(network, tiny(seed))
    assert set(report.unexpected) == {"head.mlp.0.weight", "head_dense.last_layer.weight_g"}


def test_values_moby_file_and_plain_swin() -> None:
    online, keys = (swin_to_official(tiny(seed).state_dict()) for seed in (3, 4))
    model = {f"encoder.{k}": v for k, v in online.items()}
    model |= {f"encoder_k.{k}": v for k, v in keys.items()}
    network = Swin(**TINY)
    assert load_backbone(network, dict(model=model)).branch == "online"
    assert_equal(network, tiny(3))
    load_backbone(network, dict(model=model), branch="twin")
    assert_equal(network, tiny(4))
    load_backbone(network, dict(model=online | {"head.weight": torch.zeros(2, 64)}))
    assert_equal(network, tiny(3))


def timm_tiny() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(
        "swin_tiny_patch4_window7_224", num_classes=5, img_size=64, embed_dim=8,
        depths=(1, 2, 1, 2), num_heads=(1, 1, 2, 2),
    )  # fmt: skip


def test_equivalence_with_timms_network() -> None:
    """Maps of 28, 14 and 7 are not padded to windows of 7: timm's features are ours."""
    theirs = timm.create_model(
        "swin_tiny_patch4_window7_224", num_classes=5, img_size=112, embed_dim=8,
        depths=(1, 2, 1), num_heads=(1, 1, 2),
    ).eval()  # fmt: skip
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.3)
    ours = Swin(
        8, depths=(1, 2, 1), num_heads=(1, 1, 2), pretrain_img_size=112, norm_eps=1e-5,
        out_indices=(2,),
    ).eval()  # fmt: skip
    report = load_backbone(ours, theirs.state_dict())
    assert report.complete
    assert report.unexpected == ("head.fc.bias", "head.fc.weight")
    images = torch.randn(2, 3, 112, 112)
    with torch.no_grad():
        expected = theirs.forward_features(images).permute(0, 3, 1, 2)
        torch.testing.assert_close(ours(images)[0], expected, atol=2e-5, rtol=1e-4)


def test_state_timm_and_official_are_told_apart() -> None:
    network = Swin(**TINY)
    report = load_backbone(network, timm_tiny().state_dict())
    assert "names of timm" in report.layout
    state = tiny(5).state_dict()
    there = swin_to_timm(state)
    assert set(there) == {name for name in timm_tiny().state_dict() if not name.startswith("head.")}
    back = swin_from_timm(there)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_values_own_and_mmdets_names_come_first() -> None:
    network = Swin(**TINY)
    content = {f"backbone.{k}": v for k, v in tiny(6).state_dict().items()}
    report = load_backbone(network, dict(state_dict=content))
    assert "names of" not in report.layout
    assert_equal(network, tiny(6))


def test_values_norms_of_earlier_maps_are_fresh() -> None:
    network = Swin(**TINY, out_indices=(0, 1, 2, 3))
    for content in (tiny(7).state_dict(), official_file(tiny(1), tiny(7))):
        report = load_backbone(network, content)
        assert report.complete
        assert set(report.fresh) == {
            f"norm{i}.{part}" for i in range(3) for part in ("weight", "bias")
        }
        assert bool((network.norm0.weight == 1).all())
        assert "without pretrained weights: norm0" in str(report)
    full = tiny(8, out_indices=(0, 1, 2, 3))
    assert load_backbone(network, full.state_dict()).fresh == ()
    assert_equal(network, full)


def test_raises_the_last_norm_is_not_fresh() -> None:
    content = {k: v for k, v in tiny().state_dict().items() if not k.startswith("norm3")}
    with pytest.raises(ValueError, match=r"(?s)2 missing.*norm3"):
        load_backbone(Swin(**TINY), content)


@pytest.mark.parametrize("convert", [dict, swin_to_official, swin_to_timm])
def test_raises_deeper_network(convert) -> None:
    content = convert(tiny(depths=(1, 2, 2, 2)).state_dict())
    with pytest.raises(ValueError, match="deeper network"):
        load_backbone(Swin(**TINY), content)


def test_values_tables_of_another_window_are_resized_and_said() -> None:
    # at 64 pixels the maps have sides 16, 8, 4, 2: windows 7, 7, 4, 2 for 7 and 4, 4, 4, 2 for 4
    network = Swin(**TINY, window_size=4)
    source = tiny(9).state_dict()
    report = load_backbone(network, source)
    assert report.complete
    assert len(report.resized) == 3
    assert "resized: stages.0.blocks.0.attn.w_msa.relative_position_bias_table" in str(report)
    assert "(169, 1) to (49, 1)" in report.resized[0]
    name = "stages.2.blocks.0.attn.w_msa.relative_position_bias_table"
    assert torch.equal(network.state_dict()[name], source[name])


def test_raises_other_heads_are_no_other_window() -> None:
    content = tiny(num_heads=(1, 1, 1, 2)).state_dict()
    with pytest.raises(ValueError, match=r"\(49, 1\) for \(49, 2\)"):
        load_backbone(Swin(**TINY), content)


@pytest.mark.parametrize("place", ["backbone", "student"])
def test_state_pretrained_backbone_takes_an_esvit_file(tmp_path, place: str) -> None:
    path = tmp_path / "esvit_swin_tiny.pth"
    torch.save(official_file(tiny(1), tiny(2)), path)
    init_cfg = dict(type="mmssl.PretrainedBackbone", checkpoint=str(path))
    if place == "student":
        init_cfg["branch"] = "online"
    network = MODELS.build(dict(TINY, type="Swin", init_cfg=init_cfg))
    network.init_weights()
    assert_equal(network, tiny(1 if place == "student" else 2))


def test_values_others_have_one_layout() -> None:
    with torch.device("meta"):
        assert [one.origin for one in name_layouts(ResNet(18))] == [""]
        assert [one.origin for one in name_layouts(Swin(**TINY))] == ["", "Microsoft", "timm"]
