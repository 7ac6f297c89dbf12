"""Backbone weights from every layout; incomplete loads are errors."""

from __future__ import annotations

import sys

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.model import BaseModule
from torch import nn

from mmssl.convert import load_backbone, weights_checksum
from mmssl.models.algorithms import BaseAlgorithm
from mmssl.models.backbones import ResNet, TimmBackbone
from mmssl.models.momentum_twin import MomentumTwin
from mmssl.registry import MODELS


class Small(BaseModule):
    """Two stages with the names of a ResNet; `conv1` also occurs inside the blocks."""

    def __init__(self, depth=2, init_cfg=None):
        super().__init__(init_cfg=init_cfg)
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.bn1 = nn.BatchNorm2d(4)
        self.layer1 = nn.Sequential(
            *[
                nn.ModuleDict(dict(conv1=nn.Conv2d(4, 4, 3), bn1=nn.BatchNorm2d(4)))
                for _ in range(depth)
            ]
        )
        self.out_channels, self.strides = [4], [1]

    def forward(self, images):
        return (self.conv1(images),)


def small_state(value=0.5, depth=2):
    return {k: torch.full_like(v, value) for k, v in Small(depth).state_dict().items()}


def behind(prefix, state):
    return {prefix + k: v for k, v in state.items()}


ONLINE, TWIN = small_state(1), small_state(2)
HEAD = {"fc.weight": torch.zeros(2, 4), "fc.bias": torch.zeros(2)}

# what the files of each source look like -> which value `auto` takes
LAYOUTS = {
    "torchvision": (ONLINE | HEAD, 1),
    "mmdet": (dict(meta={}, state_dict=behind("backbone.", ONLINE) | behind("neck.", HEAD)), 1),
    "ours": (
        dict(state_dict=behind("backbone.", ONLINE) | behind("twin.backbone.", TWIN), optimizer={}),
        1,
    ),
    "moco": (
        dict(
            state_dict=behind("module.encoder_q.", ONLINE | HEAD)
            | behind("module.encoder_k.", TWIN | HEAD)
            | {"module.queue": torch.zeros(4, 8)}
        ),
        1,
    ),
    "moco_v3": (
        dict(
            state_dict=behind("module.base_encoder.", ONLINE)
            | behind("module.momentum_encoder.", TWIN)
            | behind("module.predictor.", HEAD)
        ),
        1,
    ),
    "simsiam": (dict(state_dict=behind("module.encoder.", ONLINE | HEAD)), 1),
    "infomin": (dict(model=behind("module.encoder.", ONLINE), opt={}), 1),
    "care": (
        dict(
            start_epoch=3,
            model=behind("module.student_encoder.", ONLINE)
            | behind("module.teacher_encoder.", TWIN),
        ),
        1,
    ),
    "care_linear": (dict(classifier=behind("module.encoder.", ONLINE)), 1),
    "swav": (behind("module.", ONLINE) | behind("module.projection_head.", HEAD), 1),
    "barlow": (dict(model=behind("module.backbone.", ONLINE)), 1),
    "dino": (
        dict(
            student=behind("module.backbone.", ONLINE),
            teacher=behind("backbone.", TWIN) | behind("head.", HEAD),
        ),
        2,
    ),
    "safetensors": (dict(state_dict=ONLINE, meta={"epoch": "1"}), 1),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_values_every_layout(layout):
    content, expected = LAYOUTS[layout]
    module = Small()
    report = load_backbone(module, content)
    assert report.complete
    assert len(report.matched) == len(ONLINE)
    assert all(bool((v == expected).all()) for v in module.state_dict().values())
    assert report.branch == ("twin" if expected == 2 else "online")
    assert report.checksum == weights_checksum(ONLINE if expected == 1 else TWIN)


@pytest.mark.parametrize("layout", ["ours", "moco", "moco_v3", "care", "dino"])
@pytest.mark.parametrize(("branch", "expected"), [("online", 1), ("twin", 2)])
def test_values_branch_is_chosen(layout, branch, expected):
    module = Small()
    load_backbone(module, LAYOUTS[layout][0], branch=branch)
    assert bool((module.conv1.weight == expected).all())


@pytest.mark.parametrize(
    ("scope", "method", "expected"),
    [
        ("mmssl", "DINO", 2),
        ("mmssl", "mmssl.EsViT", 2),
        ("mmssl", "ImageClassifier", 2),
        ("mmssl", "MoBY", 1),
        ("mmssl", "SomebodysMethod", 1),
        ("mmpretrain", "ImageClassifier", 1),
    ],
)
def test_values_the_branch_that_a_method_publishes(scope, method, expected):
    """DINO and EsViT evaluate the teacher; a run of ours carries its config."""
    text = f"default_scope = {scope!r}\nmodel = dict(type={method!r})\n"
    content = dict(state_dict=LAYOUTS["ours"][0]["state_dict"], meta=dict(cfg=text))
    module = Small()
    report = load_backbone(module, content)
    assert report.branch == ("twin" if expected == 2 else "online")
    assert bool((module.conv1.weight == expected).all())
    online = {k: v for k, v in content["state_dict"].items() if not k.startswith("twin.")}
    assert load_backbone(module, dict(content, state_dict=online)).branch == "online"
    assert load_backbone(module, content, branch="online").branch == "online"


def test_values_a_checkpoint_says_what_its_method_publishes():
    """Also of a class that nobody has imported here; and a name in a file is not imported."""
    content = dict(state_dict=LAYOUTS["ours"][0]["state_dict"])
    told = dict(cfg="model = dict(type='MyDINO')", published_branch="twin")
    assert load_backbone(Small(), content | dict(meta=told)).branch == "twin"
    dotted = dict(cfg="model = dict(type='this.that')")
    sys.modules.pop("this", None)
    assert load_backbone(Small(), content | dict(meta=dotted)).branch == "online"
    assert "this" not in sys.modules


def test_values_the_average_of_another_library_is_no_twin_of_ours():
    """mmengine's EMAHook puts the average in `state_dict` and the trained weights in `ema_state_dict`."""
    text = "model = dict(type='ImageClassifier')"
    raw = behind("module.backbone.", TWIN)
    content = dict(state_dict=behind("backbone.", ONLINE), ema_state_dict=raw, meta=dict(cfg=text))
    module = Small()
    assert load_backbone(module, content).branch == "online"
    assert bool((module.conv1.weight == 1).all())


def test_values_prefix_is_chosen():
    module = Small()
    content = behind("first.", small_state(5)) | behind("second.", small_state(6))
    with pytest.raises(ValueError, match=r"first\..*second\..*prefix="):
        load_backbone(module, content)
    load_backbone(module, content, prefix="second.")
    assert bool((module.conv1.weight == 6).all())


def test_values_batch_counters_may_be_absent():
    module = Small()
    content = {k: v for k, v in ONLINE.items() if "num_batches_tracked" not in k}
    assert load_backbone(module, content).complete


FAULTS = {
    "renamed": ({k.replace("layer1.0", "layer1_0"): v for k, v in ONLINE.items()}, "missing"),
    "dropped": ({k: v for k, v in ONLINE.items() if "layer1.1" not in k}, "missing"),
    "statistics": ({k: v for k, v in ONLINE.items() if "running_var" not in k}, "running_var"),
    "deeper": (small_state(depth=3), "deeper network"),
    "shallower": (small_state(depth=1), "missing"),
    "shape": (ONLINE | {"bn1.bias": torch.zeros(5)}, r"bn1\.bias: \(5,\) for \(4,\)"),
    "nothing": ({f"{k}_": v for k, v in ONLINE.items()}, "None of the network"),
    "empty": ({}, "no tensors"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_raises_planted_faults_and_changes_nothing(fault):
    module = Small()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    content, message = FAULTS[fault]
    with pytest.raises(ValueError, match=message):
        load_backbone(module, content)
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())


def test_values_allow_partial_reports_the_gap():
    module = Small()
    before = module.layer1[1].conv1.weight.clone()
    report = load_backbone(module, FAULTS["dropped"][0], allow_partial=True)
    assert len(report.missing) == 6
    assert not report.complete
    assert torch.equal(module.layer1[1].conv1.weight, before)
    assert bool((module.conv1.weight == 1).all())
    with pytest.raises(ValueError, match="Nothing was loaded"):
        load_backbone(module, FAULTS["nothing"][0], allow_partial=True)


def test_raises_absent_branch():
    with pytest.raises(ValueError, match="no twin weights"):
        load_backbone(Small(), ONLINE, branch="twin")


def test_values_timm_names_load_into_timm_backbone():
    import timm

    torch.manual_seed(0)
    model = timm.create_model("test_convnext")
    backbone = TimmBackbone("test_convnext", out_indices=(0, 1))
    report = load_backbone(backbone, model.state_dict())
    assert report.complete
    assert "stages.3.blocks.0.conv_dw.weight" in report.unexpected
    assert torch.equal(
        backbone.network.stages[1].blocks[0].conv_dw.weight,
        model.stages[1].blocks[0].conv_dw.weight,
    )


def test_raises_deeper_resnet_is_not_cut_down():
    with torch.device("meta"):
        names = ResNet(101).state_dict()
    content = {k: torch.zeros(v.shape) for k, v in names.items()}
    with pytest.raises(ValueError, match=r"deeper network: layer3\.10"):
        load_backbone(ResNet(50), content)


@MODELS.register_module(name="test.Pair")
class Pair(BaseAlgorithm):
    def __init__(self, backbone, init_cfg=None):
        super().__init__(backbone, init_cfg=init_cfg)
        self.twin = MomentumTwin(self, ["backbone"], momentum=0.9, update_at="after_step")

    def loss(self, views):
        return {}


class Stubborn(Small):
    """A borrowed backbone whose own `init_weights` ignores what was loaded before."""

    def init_weights(self):
        nn.init.constant_(self.conv1.weight, 7)


@pytest.fixture
def weights(tmp_path):
    torch.save(LAYOUTS["moco"][0], tmp_path / "moco.pth")
    return dict(type="mmssl.PretrainedBackbone", checkpoint=str(tmp_path / "moco.pth"))


@pytest.mark.parametrize("place", ["algorithm", "backbone"])
def test_state_init_cfg_reaches_online_network_and_twin(weights, place):
    algorithm = (
        Pair(Small(), init_cfg=weights) if place == "algorithm" else Pair(Small(init_cfg=weights))
    )
    algorithm.init_weights()
    for backbone in (algorithm.backbone, algorithm.twin.backbone):
        assert all(bool((v == 1).all()) for v in backbone.state_dict().values())
    assert int(algorithm.twin.num_updates) == 0


def test_state_no_later_initialisation_touches_the_weights(weights):
    algorithm = Pair(Stubborn(), init_cfg=ConfigDict(weights))
    algorithm.init_weights()
    assert bool((algorithm.backbone.conv1.weight == 1).all())
    assert bool((algorithm.twin.backbone.conv1.weight == 1).all())


def test_raises_init_cfg_with_a_file_that_does_not_fit(tmp_path):
    """In one line with the first tensors, and without advice that would spoil a figure."""
    torch.save(FAULTS["dropped"][0], tmp_path / "w.pth")
    config = dict(type="mmssl.PretrainedBackbone", checkpoint=str(tmp_path / "w.pth"))
    with pytest.raises(ValueError, match=r"w\.pth does not fit .* 6 missing: layer1\.1") as caught:
        Pair(Small(), init_cfg=config).init_weights()
    assert "\n" not in str(caught.value) and "allow_partial" not in str(caught.value)
    assert "and 3 more" in str(caught.value)
    config["allow_partial"] = True
    algorithm = Pair(Small(), init_cfg=config)
    algorithm.init_weights()
    assert bool((algorithm.backbone.conv1.weight == 1).all())


def test_values_report_is_logged(weights, monkeypatch):
    lines = []
    monkeypatch.setattr(
        "mmssl.convert.pretrained_backbone.print_log", lambda text, logger: lines.append(text)
    )
    Small(init_cfg=weights).init_weights()
    assert len(lines) == 1
    assert f"{len(ONLINE)} matched, 0 missing" in lines[0]
    assert "module.encoder_q.*" in lines[0]
    assert weights_checksum(ONLINE)[:16] in lines[0]
