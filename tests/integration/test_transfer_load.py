"""A pretrained backbone arrives in a detector completely, or training does not start."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mmssl.convert.transfer_load import REQUIRED, check_load_from, load_backbone_into
from mmssl.downstream.precise_bn_hook import estimate_norm_statistics, untouched_random_state
from mmssl.downstream.preflight import frozen_norms, input_faults

pytestmark = pytest.mark.integration

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


def _stage(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels))


def _backbone(num_stages: int) -> nn.ModuleDict:
    stages = {f"layer{i + 1}": _stage(4) for i in range(num_stages)}
    return nn.ModuleDict(dict(conv1=nn.Conv2d(3, 4, 3), **stages))


class Detector(nn.Module):
    def __init__(self, num_stages: int, shared_head: bool) -> None:
        super().__init__()
        self.backbone = _backbone(num_stages)
        if shared_head:
            self.roi_head = nn.Module()
            self.roi_head.shared_head = nn.ModuleDict(
                dict(layer4=_stage(4), norm=nn.BatchNorm2d(4))
            )


@pytest.fixture
def export(tmp_path):
    torch.manual_seed(0)
    state = _backbone(4).state_dict()
    path = tmp_path / "backbone.pth"
    content = {f"backbone.{k}": v for k, v in state.items()}
    torch.save(dict(state_dict=content, meta=dict(method="CARE")), path)
    return path, state


def test_values_c4_detector_gets_the_last_stage_from_the_same_file(export):
    path, state = export
    detector = Detector(3, shared_head=True)
    extra = detector.roi_head.shared_head["norm"].weight.clone()
    loaded = load_backbone_into(detector, path)
    for name, tensor in detector.backbone.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    for name, tensor in detector.roi_head.shared_head["layer4"].state_dict().items():
        assert torch.equal(tensor, state[f"layer4.{name}"]), name
    assert torch.equal(detector.roi_head.shared_head["norm"].weight, extra)
    record = loaded.record()
    assert record["tensors"] == {"backbone": 23, "roi_head.shared_head": 7}
    assert record["meta"] == {"method": "CARE"}
    assert len(record["sha256"]) == 64


def test_raises_a_stage_without_a_place(export):
    with pytest.raises(ValueError, match="has layer4, for which this Detector has no place"):
        load_backbone_into(Detector(3, shared_head=False), export[0])


def test_raises_a_tensor_that_the_file_lacks(export):
    detector = Detector(4, shared_head=False)
    detector.backbone["stem"] = nn.Conv2d(3, 4, 3)  # as in ResNetV1c
    before = detector.backbone["conv1"].weight.clone()
    with pytest.raises(ValueError, match=r"missing: stem\.weight"):
        load_backbone_into(detector, export[0])
    assert torch.equal(detector.backbone["conv1"].weight, before)


def test_raises_placeholder_says_how_to_export(tmp_path):
    with pytest.raises(
        ValueError, match=r"tools/export_backbone\.py .* --to mmdet[\s\S]*load_from=None"
    ):
        check_load_from(REQUIRED)
    check_load_from(None)
    (tmp_path / "backbone.pth").touch()
    check_load_from(str(tmp_path / "backbone.pth"))
    check_load_from("https://host/backbone.pth")
    with pytest.raises(FileNotFoundError, match="export_backbone"):
        check_load_from(str(tmp_path / "other.pth"))
    with pytest.raises(FileNotFoundError, match=r"other\.pth does not exist") as error:
        check_load_from(str(tmp_path / "other.pth"), transfer=False)
    assert "export" not in str(error.value)


def _preprocessor(mean=MEAN, std=STD, converts=True):
    def row(values):
        return torch.tensor(values).view(3, 1, 1)

    return SimpleNamespace(mean=row(mean), std=row(std), _channel_conversion=converts)


META = dict(mean=MEAN, std=STD, channel_order="RGB")


@pytest.mark.parametrize(
    ("preprocessor", "fault"),
    [
        (_preprocessor(converts=False), "bgr_to_rgb=True"),
        (_preprocessor(std=[1.0, 1.0, 1.0]), r"data_preprocessor\.std"),
        (_preprocessor(mean=MEAN[::-1]), r"data_preprocessor\.mean"),
        (SimpleNamespace(_channel_conversion=True), "not normalised"),
    ],
)
def test_values_planted_input_faults_are_found(preprocessor, fault):
    with pytest.raises(AssertionError, match=fault):
        assert input_faults(preprocessor, META) == []


def test_values_correct_input_has_no_fault():
    assert input_faults(_preprocessor(), META) == []
    assert input_faults(_preprocessor(converts=False), {}) == []


def test_values_frozen_norms_are_named():
    backbone = _backbone(2)
    assert frozen_norms(backbone) == []
    backbone["layer2"][1].weight.requires_grad_(False)
    assert frozen_norms(backbone) == ["layer2.1"]


def test_values_precise_bn_averages_batch_statistics():
    torch.manual_seed(0)
    net = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2), nn.BatchNorm1d(2))
    net.train()
    net[2].eval()  # frozen: must be left alone
    frozen = net[2].running_mean.clone()
    batches = [torch.randn(8, 3) * (i + 1) + i for i in range(3)]
    assert estimate_norm_statistics(net, batches, net) == 1
    mean = torch.stack([b.mean(0) for b in batches]).mean(0)
    var = torch.stack([b.var(0) for b in batches]).mean(0)
    torch.testing.assert_close(net[0].running_mean, mean)
    torch.testing.assert_close(net[0].running_var, var)
    assert torch.equal(net[2].running_mean, frozen)
    assert net[0].momentum == 0.1
    assert int(net[0].num_batches_tracked) == 0


def test_state_random_numbers_are_given_back():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with untouched_random_state():
        torch.rand(5)
    assert torch.equal(torch.rand(2), expected)
