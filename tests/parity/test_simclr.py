"""SimCLR's loss, projection head and learning rate against the official code."""

from __future__ import annotations

import re

import pytest
import torch
from torch.nn import functional as F

from mmssl.engine.schedulers import WarmupCosineLR, warmup_cosine
from mmssl.losses import nt_xent, unit_norm, view_logits
from mmssl.models.necks import MLPNeck
from tests.helpers.fill import fill, image
from tests.helpers.goldens import Golden

pytestmark = pytest.mark.parity
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
NAMES = {
    "layers.0.weight": "proj.0.linear.weight",
    "layers.1.weight": "proj.0.bn.weight",
    "layers.1.bias": "proj.0.bn.bias",
    "layers.3.weight": "proj.1.linear.weight",
    "layers.4.weight": "proj.1.bn.weight",
}


@dtypes
@pytest.mark.parametrize("case", ["simclr_ntxent_a", "simclr_ntxent_b"])
def test_values_loss(case: str, dtype: torch.dtype) -> None:
    golden = Golden("baselines", case)
    ((name, shape),) = golden.entry["inputs"]
    temperature = float(re.search(r"temperature=([\d.]+)", golden.entry["built"])[1])
    hidden = image(name, shape).to(dtype).requires_grad_()
    one, two = unit_norm(hidden).chunk(2)
    loss = nt_xent(one, two, one, two, temperature=temperature)
    loss.backward()
    golden.check("loss", loss)
    golden.check("grad_hidden", hidden.grad)
    logits = view_logits(one, one, two, temperature=temperature)
    number = len(one)
    golden.check("logits_ab", logits[:, :number])
    golden.check("labels", F.one_hot(torch.arange(number), 2 * number))
    # the partner's column is where the loss looks for it
    own = F.cross_entropy(logits, torch.arange(number))
    other = F.cross_entropy(
        view_logits(two, two, one, temperature=temperature), torch.arange(number)
    )
    golden.check("loss", own + other)


@dtypes
def test_values_projection_head(dtype: torch.dtype) -> None:
    golden = Golden("baselines", "simclr_head_2l")
    ((name, shape),) = golden.entry["inputs"]
    norm = dict(type="BN1d")
    neck = MLPNeck(
        shape[1],
        shape[1],
        12,
        num_layers=2,
        bias=False,
        last_bias=False,
        norm_cfg=norm,
        last_norm_cfg=dict(norm, bias=False),
    )
    state = neck.state_dict()
    learnt = {key: fill(NAMES[key], state[key].shape) for key, _ in neck.named_parameters()}
    assert sorted(map(NAMES.get, learnt)) == golden.entry["parameters"]
    neck.load_state_dict(state | learnt)
    z = neck.to(dtype).train()(image(name, shape).to(dtype))
    one, two = unit_norm(z).chunk(2)
    loss = nt_xent(one, two, one, two, temperature=0.1)
    loss.backward()
    golden.check("z", z)
    golden.check("loss", loss)
    norms = {NAMES[key]: p.grad.norm() for key, p in neck.named_parameters()}
    golden.check("grad_norms", torch.stack([norms[key] for key in golden.entry["grad_params"]]))


def test_values_learning_rate() -> None:
    """Both scalings, to the last step and beyond; as a function and as the runner's schedule."""
    golden = Golden("baselines", "schedules_simclr")
    batch, warmup, total = 64, round(2 * 320 / 64), 320 * 8 // 64 + 1
    for name, peak in (("linear", 0.3 * batch / 256), ("sqrt", 0.3 * batch**0.5)):
        rates = [
            warmup_cosine(step, peak=peak, start=0.0, end=0.0, warmup=warmup, total=total)
            for step in range(45)
        ]
        golden.check(name, torch.tensor(rates, dtype=torch.float64))
        sgd = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)
        schedule = WarmupCosineLR(sgd, warmup=warmup, end=total, by_epoch=False)
        for step in range(total - 1):
            assert sgd.param_groups[0]["lr"] == pytest.approx(rates[step], rel=1e-12), step
            sgd.step()
            schedule.step()
