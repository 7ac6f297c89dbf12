"""Learning rates of MoCo's and HCSC's recipes and evaluations: the schedulers that the configs name."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from torch import nn

from mmssl.engine.config import load_config
from mmssl.registry import OPTIM_WRAPPER_CONSTRUCTORS, PARAM_SCHEDULERS
from tests.helpers.goldens import Golden

pytestmark = pytest.mark.parity
CONFIGS = Path(__file__).resolve().parents[2] / "configs"


class Network(nn.Module):
    """A trunk and a head with the names of ImageClassifier, the trunk frozen or not."""

    def __init__(self, *, frozen: bool) -> None:
        super().__init__()
        self.backbone = nn.Linear(2, 2).requires_grad_(not frozen)
        self.head = nn.Linear(2, 2)


def rates(config: str, *, length: int = 1, frozen: bool = False, **options) -> np.ndarray:
    """(iterations, groups) learning rates of a whole run of a config, as the runner would have them.

    Args:
        config: Below configs.
        length: Iterations per epoch.
        frozen: No trunk in the optimizer.
        options: Overrides of the config.
    """
    init_default_scope("mmssl")
    cfg = load_config(CONFIGS / config, options)
    build = OPTIM_WRAPPER_CONSTRUCTORS.get(cfg.optim_wrapper.pop("constructor"))
    paramwise = cfg.optim_wrapper.pop("paramwise_cfg", None)
    network = Network(frozen=frozen)
    wrapper = build(cfg.optim_wrapper, paramwise)(network)
    # beside several groups mmengine keeps one with a dummy, which has the base rate for the log
    ours = {id(parameter) for parameter in network.parameters()}
    groups = [group for group in wrapper.param_groups if id(group["params"][0]) in ours]
    epochs = cfg.train_cfg.max_epochs
    schedulers = []
    for scheduler in deepcopy(cfg.param_scheduler):
        scheduler.setdefault("end", epochs)
        arguments = dict(optimizer=wrapper, epoch_length=length)
        schedulers.append(PARAM_SCHEDULERS.build(scheduler, default_args=arguments))
    found = []
    for iteration in range(epochs * length):
        found.append([group["lr"] for group in groups])
        wrapper.step()
        for scheduler in schedulers:
            if not scheduler.by_epoch or (iteration + 1) % length == 0:
                scheduler.step()
    return np.array(found)


def golden(name: str) -> np.ndarray:
    return Golden("hcsc", "lr_schedules").arrays[name]


@pytest.mark.parametrize("length", [1, 3])
def test_values_hcsc_cosine(length):
    found = rates("hcsc/hcsc_resnet50_8xb32-coslr-200e_in1k.py", length=length)
    expected = np.repeat(golden("hcsc_cos_200"), length)  # constant within an epoch
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-9)


def test_values_hcsc_cosine_with_a_final_rate():
    changes = {"optim_wrapper.optimizer.lr": 0.12, "param_scheduler.0.eta_min": 0.003}
    found = rates("hcsc/hcsc_resnet50_8xb32-coslr-200e_in1k.py", **changes)
    np.testing.assert_allclose(found[:, 0], golden("hcsc_cos_final"), rtol=1e-9)


def test_values_steps_of_moco_v1():
    config = "moco/mocov1_resnet50_8xb32-steplr-200e_in1k.py"
    np.testing.assert_allclose(rates(config)[:, 0], golden("step_200"), rtol=1e-9)


def test_values_linear_classification():
    config = "benchmarks/imagenet_linear/resnet50_{}_8xb32-steplr-100e_in1k.py"
    found = rates(config.format("hcsc"), frozen=True)
    assert found.shape == (100, 1)
    np.testing.assert_allclose(found[:, 0], golden("lincls_imagenet_step"), rtol=1e-9)
    # MoCo's has the same steps from 30
    moco = rates(config.format("moco"), frozen=True)[:, 0]
    np.testing.assert_allclose(moco, 6 * golden("lincls_imagenet_step"), rtol=1e-9)


@pytest.mark.parametrize("share", ["1pct", "10pct"])
def test_values_semi_supervised_trunk_and_head(share):
    found = rates(
        f"benchmarks/imagenet_semi_supervised/resnet50_hcsc_8xb32-steplr-70e_in1k-{share}.py",
        length=2,
    )
    np.testing.assert_allclose(found, np.repeat(golden("semisup_trunk_head"), 2, axis=0), rtol=1e-9)


def test_values_places205_restarts():
    found = rates(
        "benchmarks/places205_linear/resnet50_hcsc_8xb32-sgdr-100e_places205.py",
        length=7,
        frozen=True,
    )
    np.testing.assert_allclose(found[:, 0], golden("places_sgdr_7_iters_per_epoch"), rtol=1e-9)


@pytest.mark.parametrize(("share", "trunk", "head"), [("1pct", 0.02, 5.0), ("10pct", 0.01, 0.2)])
def test_values_semi_supervised_of_swav(share, trunk, head):
    """torch's MultiStepLR with gamma .2 at 12 and 16, as in the official code."""
    found = rates(
        f"benchmarks/imagenet_semi_supervised/resnet50_swav_8xb32-steplr-20e_in1k-{share}.py"
    )
    groups = [dict(params=[nn.Parameter(torch.zeros(1))], lr=rate) for rate in (trunk, head)]
    sgd = torch.optim.SGD(groups, lr=1.0)
    official = torch.optim.lr_scheduler.MultiStepLR(sgd, [12, 16], gamma=0.2)
    expected = []
    for _ in range(20):
        expected.append([group["lr"] for group in sgd.param_groups])
        sgd.step()
        official.step()
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("config", "rate", "epochs"),
    [
        ("resnet50_swav_8xb32-coslr-100e_in1k.py", 0.3, 100),
        ("resnet50_barlowtwins_8xb32-coslr-100e_in1k.py", 0.3, 100),
        ("resnet50_mocov3_8xb128-coslr-90e_in1k.py", 0.4, 90),
        ("vit-small_mocov3_8xb128-coslr-90e_in1k.py", 12.0, 90),
        ("resnet50_simsiam_8xb512-coslr-90e_in1k.py", 1.6, 90),
        ("resnet50_mmpretrain_8xb512-coslr-90e_in1k.py", 1.6, 90),
    ],
)
def test_values_cosine_per_epoch(config, rate, epochs):
    found = rates(f"benchmarks/imagenet_linear/{config}", length=2, frozen=True)[:, 0]
    expected = rate * (1 + np.cos(np.pi * np.arange(epochs) / epochs)) / 2
    np.testing.assert_allclose(found, np.repeat(expected, 2), rtol=1e-9)


def stepped(rate: float, epochs: int, milestones: list[int]) -> np.ndarray:
    """A tenth at each milestone."""
    passed = np.searchsorted(milestones, np.arange(epochs), side="right")
    return rate * 0.1**passed


@pytest.mark.parametrize(
    ("leaf", "steps", "decay"), [("vissl", [8, 16, 24], 5e-4), ("mmpretrain", [7, 14, 21], 1e-4)]
)
def test_values_places205_steps(leaf, steps, decay):
    config = f"benchmarks/places205_linear/resnet50_{leaf}_8xb32-steplr-28e_places205.py"
    found = rates(config, length=2, frozen=True)[:, 0]
    np.testing.assert_allclose(found, np.repeat(stepped(0.01, 28, steps), 2), rtol=1e-9)
    optimizer = load_config(CONFIGS / config).optim_wrapper.optimizer
    assert (optimizer.weight_decay, optimizer.momentum, optimizer.nesterov) == (decay, 0.9, True)


def test_values_semi_supervised_of_barlow_twins():
    config = "resnet50_barlowtwins_8xb32-coslr-20e_in1k-1pct.py"
    found = rates(f"benchmarks/imagenet_semi_supervised/{config}", length=2)
    cosine = np.repeat((1 + np.cos(np.pi * np.arange(20) / 20)) / 2, 2)
    np.testing.assert_allclose(found, cosine[:, None] * [0.005, 0.5], rtol=1e-9)


def test_values_voc07_swinging_cosine():
    """From .05, half a period of 12 epochs, one epoch ahead, up again without a restart."""
    found = rates(
        "benchmarks/voc07_classification/resnet50_hcsc_1xb16-coslr-100e_voc07.py",
        length=2,
        frozen=True,
    )[:, 0]
    expected = 0.05 * (1 + np.cos(np.pi * (np.arange(100) + 1) / 12)) / 2
    np.testing.assert_allclose(found, np.repeat(expected, 2), rtol=1e-9, atol=1e-12)
