"""LARS in the variants of eight code bases."""

from __future__ import annotations

import pytest
import torch

from mmssl.engine.optimizers import LARS
from tests.helpers.fill import fill, image
from tests.helpers.goldens import Golden

pytestmark = pytest.mark.parity

VARIANTS = {
    "lars_mocov3": (dict(), True),
    "lars_barlow": (dict(), True),
    "lars_byol": (dict(), True),
    "lars_simclr_classic": (dict(lr_in_momentum=True), True),
    "lars_mmpretrain": (dict(norm_of_sum=False, lr_in_momentum=True), True),
    "lars_larc": (dict(norm_of_sum=False, zero_norm="gradient"), False),
}


@pytest.mark.parametrize("case", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_lars_variants(case, dtype):
    golden = Golden("baselines", case)
    entry = golden.entry
    options, excludes = VARIANTS[case]
    weights = {
        name: torch.nn.Parameter(
            (torch.zeros(shape) if name == "zero_w" else fill(f"lars/{name}", shape)).to(dtype)
        )
        for name, shape in entry["parameters"].items()
    }
    # the one-dimensional ones, found by number of axes or by name in the authors' codes
    small = [weight for weight in weights.values() if excludes and weight.ndim <= 1]
    large = [weight for weight in weights.values() if not excludes or weight.ndim > 1]
    groups = [dict(params=large)]
    if small:
        groups.append(dict(params=small, weight_decay=0.0, lars_exclude=True))
    optimizer = LARS(groups, lr=1.0, weight_decay=entry["weight_decay"], **options)
    history = {name: [] for name in weights}
    for step, lr in enumerate(entry["lrs"]):
        for name, weight in weights.items():
            weight.grad = image(f"lars/g{step}/{name}", weight.shape).to(dtype)
        if step == 1:
            weights["gap_w"].grad.zero_()
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        for name, weight in weights.items():
            history[name].append(weight.detach().clone())
    for name, values in history.items():
        golden.check(name, torch.stack(values))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_lars_of_care_code(dtype):
    golden = Golden("care", "lars_basic")
    entry = golden.entry
    weights = {
        name: torch.nn.Parameter(
            (torch.zeros(shape) if name == "zero.weight" else fill(f"lars.{name}", shape)).to(dtype)
        )
        for name, shape in entry["shapes"].items()
    }
    excluded = ["linear.bias", "bn.weight", "bn.bias"]
    optimizer = LARS(
        [
            dict(params=[weights[name] for name in weights if name not in excluded]),
            dict(params=[weights[name] for name in excluded], lars_exclude=True),
        ],
        lr=1.0,
        weight_decay=1e-6,
        norm_of_sum=False,
        lr_in_momentum=True,
        zero_norm="zero",
    )
    for step, lr in enumerate(entry["lr_per_step"]):
        for name, weight in weights.items():
            weight.grad = 0.1 * image(f"lars/lars_basic/grad/{step}/{name}", weight.shape).to(dtype)
        weights["nograd.weight"].grad = None
        weights["zerograd.weight"].grad.zero_()
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        if step in entry["steps_kept"]:
            for name in entry["arrays"]:
                kept, _, key = name.partition("/")
                if int(kept) != step:
                    continue
                if key.startswith("momentum_buffer/"):
                    value = optimizer.state[weights[key.split("/")[1]]]["momentum_buffer"]
                else:
                    value = weights[key]
                golden.check(name, value)
    assert weights["zero.weight"].abs().max() == 0
    assert weights["nograd.weight"] not in optimizer.state


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_lars_of_pixpro_code(dtype):
    golden = Golden("pixpro", "lars_steps")
    options = golden.entry["options"]
    weights = {
        name: torch.nn.Parameter(
            torch.zeros(shape, dtype=dtype)
            if name == options["all_zero_parameter"]
            else fill(name.replace("_", "."), shape).to(dtype)
        )
        for name, shape in options["shapes"].items()
    }
    optimizer = LARS(
        [
            dict(params=[weight for weight in weights.values() if weight.ndim > 1]),
            dict(
                params=[weight for weight in weights.values() if weight.ndim <= 1],
                weight_decay=0.0,
                lars_exclude=True,
            ),
        ],
        lr=options["lr"],
        weight_decay=options["weight_decay"],
    )
    for step in range(4):
        for name, weight in weights.items():
            weight.grad = 0.1 * image(f"lars_grad_{name}_{step}", weight.shape).to(dtype)
        if step == 0:
            weights[options["all_zero_parameter"]].grad.zero_()
        optimizer.step()
        for group in optimizer.param_groups:
            group["lr"] *= options["lr_decay_per_step"]
        for name, weight in weights.items():
            expected = torch.from_numpy(golden.arrays[f"{name}_t{step}"]).to(dtype)
            atol = 1e-6 * float(expected.abs().max())
            torch.testing.assert_close(weight.detach(), expected, rtol=0, atol=atol)
