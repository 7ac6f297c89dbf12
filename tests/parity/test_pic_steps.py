"""PIC's steps: the multi-crop model against the official code, sampled rows against SGD over all of them."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import Tensor

from mmssl.convert.official.pic import from_official, to_official
from mmssl.losses import instance_softmax
from mmssl.models.algorithms import PIC
from mmssl.models.backbones import ResNet
from mmssl.models.heads import InstanceClassifier
from mmssl.ops.idle_sgd import compose, idle_operator, idle_power
from mmssl.structures import Progress, ViewBatch
from tests.helpers.fill import fill, image
from tests.helpers.goldens import Golden

pytestmark = pytest.mark.parity
LAZY = ("pic_lazy_schedule", "pic_lazy_window")
STEPS = "pic_r18_multicrop"


def relative(actual: Tensor | np.ndarray, expected: np.ndarray) -> float:
    """Largest deviation over the largest value."""
    found = np.asarray(actual, dtype=np.float64).ravel()
    return float(np.abs(found - expected.ravel()).max() / np.abs(expected).max())


def lazy_run(golden: Golden, dtype: torch.dtype, correction: str) -> dict[str, Tensor]:
    """All steps of a case on given features, and the rows after the last."""
    option = golden.entry["options"]
    head = InstanceClassifier(
        option["D"],
        option["N"],
        temperature=option["temperature"],
        num_negatives=option["K"],
        correction=correction,
    ).to(dtype)
    head.rows.store.weight.copy_(fill("sim_matrix", (option["N"], option["D"])))
    (name, shape), *_ = golden.entry["inputs"]
    losses, slopes, sizes = [], [], []
    for step, (own, lr) in enumerate(zip(golden.arrays["positives"], golden.arrays["lr"])):
        features = image(name.replace("<t>", str(step)), shape).to(dtype).requires_grad_()
        classes = head(torch.from_numpy(own))
        loss = instance_softmax(
            features, None, classes.weight, classes.target, temperature=head.temperature
        ).loss
        loss.backward()
        last = head.rows.members.clone()
        losses.append(loss.detach())
        slopes.append(features.grad)
        sizes.append(len(last))
        head.rows.step(float(lr), momentum=option["momentum"], weight_decay=option["weight_decay"])
    weight, momentum = head.rows.all_rows()
    return dict(
        losses=torch.stack(losses),
        feature_grads=torch.stack(slopes),
        set_sizes=torch.tensor(sizes),
        last_set=last,
        W_after=weight,
        momentum_after=momentum,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", LAZY)
def test_values_sampled_rows_follow_sgd_over_all_rows(case: str, dtype: torch.dtype) -> None:
    golden = Golden("pixpro", case)
    assert golden.entry["tolerance"] == "losses 1e-5, W and momentum 1e-5 of the largest"
    found = lazy_run(golden, dtype, "exact")
    for name in ("set_sizes", "last_set"):
        np.testing.assert_array_equal(found[name], golden.arrays[name])
    np.testing.assert_allclose(found["losses"], golden.arrays["losses"], rtol=0, atol=1e-5)
    for name in ("W_after", "momentum_after", "feature_grads"):
        assert relative(found[name], golden.arrays[name]) <= 1e-5, name


@pytest.mark.parametrize("case", LAZY)
def test_values_without_correction_they_do_not(case: str) -> None:
    golden = Golden("pixpro", case)
    losses = lazy_run(golden, torch.float32, "none")["losses"]
    expected = golden.arrays["losses_without_correction"]
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-5)
    gap = golden.entry["float32_vs_float64"]["gap_without_correction"]
    assert np.abs(losses.numpy() - golden.arrays["losses"]).max() == pytest.approx(gap, rel=1e-3)


def test_values_closed_form_is_exact_for_a_constant_rate_only() -> None:
    """The window case trains at a constant learning rate, the schedule case does not."""
    rates = {case: np.ptp(Golden("pixpro", case).arrays["lr"]) for case in LAZY}
    assert min(rates.values()) == 0 < max(rates.values())
    for case in LAZY:
        golden = Golden("pixpro", case)
        losses = lazy_run(golden, torch.float32, "closed_form")["losses"].numpy()
        gap = np.abs(losses - golden.arrays["losses"]).max()
        assert (gap <= 1e-5) == (rates[case] == 0), (case, gap)


def test_values_powers_of_the_idle_operator() -> None:
    golden = Golden("pixpro", "pic_power")
    for name, (lr, decay, momentum, steps) in golden.entry["options"].items():
        settings = dict(momentum=momentum, weight_decay=decay)
        power = idle_power(torch.tensor([1, steps]), lr, **settings)
        np.testing.assert_allclose(power[1], golden.arrays[name], rtol=0, atol=1e-9)
        product, step = torch.eye(2, dtype=torch.float64), idle_operator(lr, **settings)
        for _ in range(steps):
            product = compose(step, product)
        np.testing.assert_allclose(product, golden.arrays[name], rtol=0, atol=1e-9)


def multi_crop_model(option: dict, dtype: torch.dtype) -> tuple[PIC, dict[str, Tensor]]:
    """The model with filled weights, and its parameters by their official names."""
    model = PIC(
        ResNet(depth=18),
        # the released `fc1` has 2048 outputs behind a ResNet-18 too
        dict(type="MLPNeck", hid_channels=2048, out_channels=option["feature_dim"]),
        dict(num_instances=option["num_instances"], temperature=option["contrast_temperature"]),
    )
    official = to_official(model.state_dict())
    state = from_official({key: fill(key, value.shape) for key, value in official.items()})
    model.load_state_dict(state)
    model.progress = Progress(0, 2, 0, 1)
    model.to(dtype).train()
    return model, to_official(model.state_dict(keep_vars=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_multi_crop_steps(dtype: torch.dtype) -> None:
    golden = Golden("pixpro", STEPS)
    option = golden.entry["options"]
    model, parameters = multi_crop_model(option, dtype)
    names = re.findall(r"'([\w.]+)'", golden.entry["arrays"]["grad_norms"]["meaning"])
    followed = [parameters[key] for key in names]
    start = [parameter.detach().clone() for parameter in followed]
    optimizer = torch.optim.SGD(
        model.parameters(), lr=option["lr"], momentum=0.9, weight_decay=option["weight_decay"]
    )
    shapes = [shape for _, shape in golden.entry["inputs"][:2]]
    losses, found = [], {}
    for step, own in enumerate(torch.from_numpy(golden.arrays["y"])):
        crops = []
        for kind, shape in zip(("large", "small"), shapes):
            crops += image(f"{STEPS}_{step}_{kind}", shape).to(dtype).unbind(1)
        views = ViewBatch(crops, own, [], torch.full_like(own, -1), [])
        if step == 0:
            found["logits"] = logits(model, views)
        loss = model(views, mode="loss")["loss"]
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.detach())
        if step == 0:
            found["grad_norms"] = torch.stack([p.grad.norm() for p in followed])
            found["grad_sim_matrix"] = model.head.weight.grad.flatten()[::2].clone()
        optimizer.step()
    found["losses"] = torch.stack(losses)
    found["sim_matrix_after"] = model.head.weight.detach().flatten()[::2]
    found["change_norms"] = torch.stack(
        [(p.detach() - before).norm() for p, before in zip(followed, start)]
    )
    found["bn1_running_mean"] = model.backbone.bn1.running_mean
    said = golden.entry["tolerance"]
    assert said == "relative: losses 1e-4, logits 1e-3 of the largest, gradient norms 5e-3"
    limits = dict(losses=1e-4, logits=1e-3, bn1_running_mean=1e-4)
    for name, value in found.items():
        assert relative(value, golden.arrays[name]) <= limits.get(name, 5e-3), name
    each = np.abs(found["grad_norms"].numpy() / golden.arrays["grad_norms"] - 1).max()
    assert each <= 5e-3
    assert model.backbone.bn1.num_batches_tracked == golden.arrays["num_batches_tracked"] == 8


@torch.no_grad()
def logits(model: PIC, views: ViewBatch) -> Tensor:
    """All logits, which the method itself never holds; running statistics are put back."""
    before = {name: value.clone() for name, value in model.named_buffers()}
    features = torch.cat([model.embed(crop) for crop in views.images])
    for name, value in model.named_buffers():
        value.copy_(before[name])
    unit, rows = (torch.nn.functional.normalize(part) for part in (features, model.head.weight))
    return unit @ rows.T / model.head.temperature
