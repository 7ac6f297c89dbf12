"""DetectorPyramid: mmdet's own maps, by mmdet's names, with weights for the chosen levels only."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mmssl.models.necks import DenseTowers, DetectorPyramid
from mmssl.registry import MODELS

mmdet = pytest.importorskip("mmdet")
CHANNELS = [8, 16, 32, 64]
FASTER = dict(num_outs=5)
FCOS = dict(start_level=1, num_outs=5, add_extra_convs="on_output", relu_before_extra_convs=True)
RETINA = dict(start_level=1, num_outs=5, add_extra_convs="on_input")
LATERAL = dict(start_level=1, num_outs=5, add_extra_convs="on_lateral")
SMALL = dict(num_outs=4, norm_cfg=dict(type="BN"))
KINDS = [FASTER, FCOS, RETINA, LATERAL, SMALL]
NAMES = ["faster", "fcos", "retina", "lateral", "small"]


def fpn(**settings) -> dict:
    return dict(type="mmdet.FPN", in_channels=CHANNELS, out_channels=32, **settings)


def trunk_maps(size: int = 32) -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.randn(2, c, size >> i, size >> i) for i, c in enumerate(CHANNELS)]


@pytest.mark.parametrize("levels", [None, (3, 4, 5), (3, 5), (5,)])
@pytest.mark.parametrize("settings", KINDS, ids=NAMES)
def test_equivalence_maps_are_mmdets(settings, levels):
    torch.manual_seed(0)
    pyramid = DetectorPyramid(fpn(**settings), levels=levels)
    theirs = MODELS.build(fpn(**settings))
    outcome = theirs.load_state_dict(pyramid.neck.state_dict(), strict=False)
    assert outcome.unexpected_keys == []
    missing = [n for n in pyramid.left_out if not n.endswith("num_batches_tracked")]
    assert sorted(outcome.missing_keys) == sorted(missing)
    first = 2 + settings.get("start_level", 0)
    expected = theirs(trunk_maps())
    maps = pyramid(trunk_maps())
    assert len(maps) == len(pyramid.levels) == len(pyramid.out_channels)
    for level, got in zip(pyramid.levels, maps, strict=True):
        assert torch.equal(got, expected[level - first]), level


@pytest.mark.parametrize("levels", [None, (3, 4, 5), (3, 5), (5,), (2, 3)])
@pytest.mark.parametrize("settings", [FASTER, SMALL], ids=["faster", "small"])
def test_values_every_weight_takes_part(settings, levels):
    pyramid = DetectorPyramid(fpn(**settings), levels=levels, towers=dict(stacked_convs=1))
    assert_all_take_part(pyramid)


@pytest.mark.parametrize("levels", [None, (3, 5), (4, 6), (3, 7)])
@pytest.mark.parametrize("settings", [FCOS, RETINA, LATERAL], ids=["fcos", "retina", "lateral"])
def test_values_every_weight_takes_part_with_extra_convolutions(settings, levels):
    assert_all_take_part(DetectorPyramid(fpn(**settings), levels=levels))


def assert_all_take_part(pyramid: DetectorPyramid) -> None:
    sum(x.square().sum() for x in pyramid(trunk_maps(64))).backward()
    parameters = pyramid.named_parameters()
    assert [name for name, p in parameters if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize(
    ("settings", "levels", "left_out"),
    [
        (FASTER, (3, 4, 5, 6), {"lateral_convs.0", "fpn_convs.0"}),
        (FCOS, (3, 4, 5, 6), {"fpn_convs.4"}),
        (SMALL, (3, 4, 5), {"lateral_convs.0", "fpn_convs.0"}),
    ],
)
def test_values_default_levels_are_p3_to_p6(settings, levels, left_out):
    pyramid = DetectorPyramid(fpn(**settings))
    assert pyramid.levels == levels
    assert {".".join(name.split(".")[:2]) for name in pyramid.left_out} == left_out


class NewMaps(TorchDispatchMode):
    """Collects the heights of the maps that are computed; views of others are not."""

    def __init__(self):
        super().__init__()
        self.heights = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        is_view = any(result.alias_info for result in function._schema.returns)
        if isinstance(out, torch.Tensor) and out.ndim == 4 and not is_view:
            self.heights.append(out.shape[2])
        return out


@pytest.mark.parametrize(("levels", "height"), [((2, 3), 32), ((3, 4), 16), ((4, 5), 8), ((5,), 4)])
@pytest.mark.parametrize("settings", [FASTER, SMALL], ids=["faster", "small"])
def test_values_no_map_is_finer_than_the_chosen(settings, levels, height):
    pyramid, maps = DetectorPyramid(fpn(**settings), levels=levels), trunk_maps()
    with torch.no_grad(), NewMaps() as seen:
        pyramid(maps)
    assert max(seen.heights) == height


@pytest.mark.parametrize("levels", [None, (3, 5), (4,)])
@pytest.mark.parametrize("settings", KINDS, ids=NAMES)
def test_values_strides_are_those_of_the_maps(settings, levels):
    pyramid = DetectorPyramid(fpn(**settings), levels=levels)
    sides = [x.shape[2] for x in pyramid(trunk_maps(64))]  # of 256 pixels at stride 4
    assert pyramid.strides([4, 8, 16, 32]) == [256 // side for side in sides]
    dilated = pyramid.strides([4, 8, 16, 16])
    assert dilated == [min(s, 16) if level <= 5 else s // 2 for level, s in zip(
        pyramid.levels, pyramid.strides([4, 8, 16, 32]), strict=True
    )]  # fmt: skip


def test_equivalence_towers_are_fcos_heads():
    towers = DenseTowers(16, 32, stacked_convs=2)
    head = MODELS.build(
        dict(
            type="mmdet.FCOSHead", num_classes=2, in_channels=16, feat_channels=32, stacked_convs=2
        )
    )
    outcome = head.load_state_dict(towers.state_dict(), strict=False)
    assert outcome.unexpected_keys == []
    assert {name.split(".")[0] for name in outcome.missing_keys} == {
        "conv_cls", "conv_reg", "conv_centerness", "scales",
    }  # fmt: skip
    maps = [torch.randn(2, 16, 4, 4), torch.randn(2, 16, 2, 2)]
    outs = towers(maps)
    for level, x in enumerate(maps):
        _, _, cls, reg = super(type(head), head).forward_single(x)
        assert torch.equal(outs[level], cls)
        assert torch.equal(outs[level + 2], reg)


def test_values_towers_start_as_the_detectors():
    torch.manual_seed(0)
    towers = DenseTowers(32, 32)
    towers.init_weights()
    for conv in (*towers.cls_convs, *towers.reg_convs):
        assert conv.conv.bias is None
        assert abs(conv.conv.weight.std().item() - 0.01) < 1e-3


def test_shapes_towers_give_a_map_of_each_branch_and_level():
    pyramid = DetectorPyramid(fpn(**FCOS), towers=dict(branches=("reg",), stacked_convs=1))
    assert len(pyramid(trunk_maps())) == len(pyramid.out_channels) == 4
    assert {n.split(".")[1] for n in pyramid.state_dict() if n.startswith("bbox_head")} == {
        "reg_convs"
    }
    both = DetectorPyramid(fpn(**FCOS), towers=dict(stacked_convs=1, feat_channels=64))
    assert both.out_channels == [64] * 8
    assert [tuple(x.shape[1:]) for x in both(trunk_maps())] == [
        (64, 16, 16), (64, 8, 8), (64, 4, 4), (64, 2, 2),
    ] * 2  # fmt: skip


def test_raises_what_it_cannot_be_built_of(monkeypatch):
    with pytest.raises(ValueError, match="needs the FPN of mmdet"):
        DetectorPyramid(dict(type="MLPNeck", in_channels=4, hid_channels=4, out_channels=4))
    with pytest.raises(ValueError, match=r"from 2 to 5 \(this FPN has P2 to P5\)"):
        DetectorPyramid(fpn(**SMALL), levels=(3, 6))
    with pytest.raises(ValueError, match="ascending"):
        DetectorPyramid(fpn(**SMALL), levels=(4, 3))
    with pytest.raises(ValueError, match="the first not above 5"):
        DetectorPyramid(fpn(**FCOS), levels=(6,))
    with pytest.raises(ValueError, match="'cls', 'reg' or both"):
        DenseTowers(8, 8, branches=("cls", "mask"))
    with pytest.raises(ValueError, match="at least one convolution"):
        DenseTowers(8, 8, stacked_convs=0)
    with pytest.raises(ValueError, match=r"backbone returns \[8, 16\]"):
        DetectorPyramid(fpn(**SMALL))(trunk_maps()[:2])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"'\.\[downstream\]'"):
        DetectorPyramid(fpn(**SMALL))
