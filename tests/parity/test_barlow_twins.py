"""Barlow Twins over two LARS steps against the official code, through converter and parameter groups."""

from __future__ import annotations

import pytest
import torch

from mmssl.convert.official.barlow_twins import LAYOUT
from mmssl.engine.optimizers import LARS, ParamGroupConstructor
from mmssl.engine.schedulers import WarmupCosineLR
from mmssl.models.algorithms import BarlowTwins
from tests.helpers import official_steps as steps
from tests.helpers.goldens import Golden
from tests.helpers.short_resnet import short_resnet

pytestmark = pytest.mark.parity
KINDS = ("bias", "norm")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_two_steps(dtype: torch.dtype) -> None:
    golden = Golden("baselines", "barlow_r14_w1")
    neck = dict(type="MLPNeck", hid_channels=64, out_channels=96)
    model = BarlowTwins(short_resnet(), neck)
    steps.fill_through(model, LAYOUT.to_official, LAYOUT.from_official, dtype)
    batch, per_epoch, epochs = 16, 8, 20
    peak = 0.2 * batch / 256
    wrapper = ParamGroupConstructor(
        dict(type="OptimWrapper", optimizer=dict(type=LARS, lr=peak, weight_decay=1e-6)),
        dict(
            no_decay=KINDS,
            lars_exclude=KINDS,
            lr_mult_by_kind=dict.fromkeys(KINDS, 0.024),
        ),
    )(model)
    schedule = WarmupCosineLR(
        wrapper.optimizer,
        warmup=10 * per_epoch,
        end=epochs * per_epoch,
        eta_min_ratio=0.001,
        by_epoch=False,
    )
    schedule.jump_to(3)
    losses, rates = [], []
    for step in range(2):
        names = [f"barlowa/{view}{step}" for view in "ab"]
        views = steps.views_of(names, [(batch, 3, 32, 32)] * 2, dtype)
        loss = steps.loss_of(model, views, step=step)["loss"]
        wrapper.optimizer.zero_grad()
        loss.backward()
        if step == 0:
            norms = steps.gradient_norms(model, LAYOUT.to_official, golden.entry["grad_params"])
            golden.check("grad_norms_step0", norms)
            golden.check("bn_running_mean_after_step0", model.norm.running_mean)
            tracked = int(model.norm.num_batches_tracked)
            assert tracked == int(golden.arrays["bn_tracked_after_step0"])
        rates.append([group["lr"] for group in wrapper.optimizer.param_groups])
        wrapper.optimizer.step()
        schedule.step()
        losses.append(loss.detach())
    golden.check("losses", torch.stack(losses))
    golden.check("lrs", torch.tensor(rates, dtype=torch.float64))
    golden.check("projector_out_w_last", model.neck.layers[6].weight)
