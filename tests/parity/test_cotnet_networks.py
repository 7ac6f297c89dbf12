"""CoTNet's networks against the authors' code: features, loss, gradients, statistics, names and sizes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmssl.models.backbones import CoTNet
from tests.helpers.cotnet_goldens import CoTGolden, case_names
from tests.helpers.goldens import official_keys

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore:In training the BatchNorm of a pooled gate"),
]

EVERY = (0, 1, 2, 3)
BUILT = {
    "cotnet50": dict(arch="50"),
    "cotnext50": dict(arch="x50"),
    "cotnet50_b4_96": dict(arch="50"),
    "cotnet50_os16": dict(arch="50", output_stride=16),
}
CASES = case_names("model", *BUILT)
LABELS = torch.tensor([17, 503, 940, 3])
CONSTRUCTORS = {
    "cotnet50": dict(arch="50"),
    "cotnet101": dict(arch="101"),
    "cotnext50_2x48d": dict(arch="x50"),
    "cotnext101_2x48d": dict(arch="x101"),
    "se_cotnetd_50": dict(arch="d50"),
    "se_cotnetd_101": dict(arch="d101"),
    "se_cotnetd_152": dict(arch="d152"),
    "se_cotnetd_152_L": dict(arch="d152"),
    "se_cotnetd_200": dict(arch="d200"),
    "se_cotnetd_270": dict(arch="d270"),
    "lrnet50": dict(arch="50", mixer="sasa"),
    "lrnet50_ks3": dict(arch=dict(mixers="sasa", key_kernel_size=3)),
}


class Classifier(nn.Module):
    """A backbone and the authors' classifier, under their names."""

    def __init__(self, backbone: CoTNet) -> None:
        super().__init__()
        for name, child in backbone.named_children():
            self.add_module(name, child)
        self.fc = nn.Linear(2048, 1000)
        self.backbone = [backbone]  # not a child

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """What the cases store, by its name there."""
        found: dict[str, Tensor] = {}
        hook = self.bn1.register_forward_hook(lambda *args: found.update(act1=args[2].relu()))
        maps = self.backbone[0](images)
        hook.remove()
        found |= {f"layer{stage + 1}": one for stage, one in enumerate(maps)}
        found["pool"] = maps[-1].mean((2, 3))
        found["logits"] = self.fc(found["pool"])
        found["loss"] = F.cross_entropy(
            found["logits"], LABELS[: len(images)], label_smoothing=0.1
        ).reshape(1)
        return found


def run(case: str, dtype: torch.dtype) -> None:
    """Compare everything that a case stores."""
    golden = CoTGolden(case)
    options = BUILT[case.rsplit("_", 1)[0]]
    network = golden.fill(Classifier(CoTNet(**options, out_indices=EVERY)), dtype)
    (images,) = golden.inputs(dtype)
    found = network(images)
    found["loss"].sum().backward()
    parameters, buffers = dict(network.named_parameters()), dict(network.named_buffers())
    names = golden.entry["arrays"]["grad_norm"]["names"]
    found["grad_norm"] = torch.stack([parameters[name].grad.norm() for name in names])
    for array in golden.arrays:
        kind, _, name = array.partition(":")
        golden.check(array, buffers[name] if kind == "st" else found[array])


def test_state_all_cases_are_here():
    assert case_names("model", "") == CASES
    assert {case.rsplit("_", 1)[0] for case in CASES} == set(BUILT)


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if "_b4_96" not in case])
def test_values_float64(case):
    run(case, torch.float64)


@pytest.mark.parametrize("case", [case for case in CASES if "_b4_96" in case])
def test_values_small_images_float64(case):
    run(case, torch.float64)


@pytest.mark.parametrize("case", [case for case in CASES if case.endswith("eval")])
def test_values_float32(case):
    run(case, torch.float32)


@pytest.mark.parametrize("constructor", CONSTRUCTORS)
def test_state_official_names_and_sizes(constructor):
    """Names in their order, shapes and number of parameters of the published network."""
    listed = official_keys("cotnet")[constructor]
    with torch.device("meta"):
        network = CoTNet(**CONSTRUCTORS[constructor])
    ours = [[key, list(value.shape)] for key, value in network.state_dict().items()]
    assert ours == [pair for pair in listed["keys"] if not pair[0].startswith("fc.")]
    classifier = 2048 * 1000 + 1000
    assert sum(p.numel() for p in network.parameters()) + classifier == listed["parameters"]
    assert len(ours) + 2 == listed["entries"]


@pytest.mark.parametrize(
    ("options", "millions"),
    [
        (dict(fusion="static"), 17.07),
        (dict(fusion="dynamic"), 20.32),
        (dict(fusion="sum"), 20.32),
        (dict(arch=dict(mixers=("conv", "conv", "conv", "conv"))), 25.56),
        (dict(arch=dict(mixers=("conv", "conv", "conv", "cot"))), 23.46),
        (dict(arch=dict(mixers=("conv", "conv", "cot", "cot"))), 22.42),
        (dict(arch=dict(mixers=("conv", "cot", "cot", "cot"))), 22.25),
    ],
)
def test_state_sizes_of_the_ablations(options, millions):
    """The table of the article: fusions, and stages of ResNet-50 that are replaced."""
    with torch.device("meta"):
        network = CoTNet(**options)
    total = sum(p.numel() for p in network.parameters()) + 2048 * 1000 + 1000
    assert round(total / 1e6, 2) == millions
