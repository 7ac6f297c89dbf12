"""SimSiam over three SGD steps against the official code, through the converter and our parameter groups."""

from __future__ import annotations

import pytest
import torch

from mmssl.convert.official.simsiam import LAYOUT
from mmssl.engine.optimizers import ParamGroupConstructor
from mmssl.engine.schedulers import WarmupCosineLR
from mmssl.losses import unit_norm
from mmssl.models.algorithms import SimSiam
from mmssl.models.backbones import ResNet, view_and_map
from tests.helpers import official_steps as steps
from tests.helpers.goldens import Golden

pytestmark = pytest.mark.parity


def build(dtype: torch.dtype) -> SimSiam:
    model = SimSiam(
        ResNet(18, out_indices=(3,)),
        dict(type="MLPNeck", out_channels=32),
        dict(type="MLPPredictor"),
    )
    return steps.fill_through(model, LAYOUT.to_official, LAYOUT.from_official, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_three_steps(dtype: torch.dtype) -> None:
    golden = Golden("baselines", "simsiam_r18")
    model = build(dtype)
    config = dict(type="SGD", lr=0.003, momentum=0.9, weight_decay=1e-4)
    wrapper = ParamGroupConstructor(
        dict(type="OptimWrapper", optimizer=config), dict(constant_lr=("head",))
    )(model)
    schedule = WarmupCosineLR(wrapper.optimizer, end=10)
    bias = model.neck.layers[6].bias.clone()
    losses, rates = [], []
    for step in range(3):
        names = [f"simsiama/{view}{step}" for view in "ab"]
        views = steps.views_of(names, [(8, 3, 64, 64)] * 2, dtype)
        if step == 0:
            with torch.no_grad():  # a copy, so that running statistics stay as they were
                twin = build(dtype)
                z1, z2 = (twin.neck(view_and_map(twin.backbone, v)[0]) for v in views.images)
                golden.check("p1_step0", twin.head(z1))
                golden.check("z2_step0", z2)
        loss = steps.loss_of(model, views, step=step)["loss"]
        wrapper.optimizer.zero_grad()
        loss.backward()
        if step == 0:
            norms = steps.gradient_norms(model, LAYOUT.to_official, golden.entry["grad_params"])
            golden.check("grad_norms_step0", norms)
            assert model.neck.layers[6].bias.grad is None
            assert not golden.arrays["output_bias_has_grad"]
        wrapper.optimizer.step()
        rates.append([group["lr"] for group in wrapper.optimizer.param_groups])
        schedule.step()
        losses.append(loss.detach())
    golden.check("losses", torch.stack(losses))
    golden.check("lrs", torch.tensor(rates, dtype=torch.float64))
    golden.check("pred_out_bias_last", model.head.layers[3].bias)
    golden.check("proj_out_bias_last", model.neck.layers[6].bias)
    assert torch.equal(bias, model.neck.layers[6].bias)


def test_values_target_is_constant() -> None:
    """Moving what only the targets see moves no gradient: the predictor's are those of fixed targets."""
    torch.manual_seed(0)
    model = build(torch.float64)
    views = steps.views_of(["s/a", "s/b"], [(4, 3, 32, 32)] * 2, torch.float64)
    z1, z2 = (model.neck(view_and_map(model.backbone, v)[0]) for v in views.images)
    p1, p2 = unit_norm(model.head(z1)), unit_norm(model.head(z2))
    by_hand = -((p1 * unit_norm(z2).detach()).sum() + (p2 * unit_norm(z1).detach()).sum()) / 8
    expected = torch.autograd.grad(by_hand, list(model.backbone.parameters()))
    loss = steps.loss_of(model, views)["loss"]
    found = torch.autograd.grad(loss, list(model.backbone.parameters()))
    torch.testing.assert_close(loss, by_hand)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
