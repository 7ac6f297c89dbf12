"""Steps of PixPro on a ResNet-50 against the official code: all parts, twin, instance branch, LARS."""

from __future__ import annotations

import pytest
import torch

from mmssl.convert.official.pixpro import to_official
from mmssl.engine.optimizers import LARS
from tests.helpers.goldens import Golden
from tests.helpers.official_steps import gradient, official_norms
from tests.helpers.pixel_goldens import boxes_of, compare, named_in
from tests.helpers.pixpro_steps import (
    Recorder,
    forward,
    pixpro_of,
    step_views,
)

pytestmark = [pytest.mark.parity, pytest.mark.slow]
# as the entries say: "loss 5e-4, every gradient norm 5e-3, features and projections 5e-4 of the largest
# value, EMA norms and BN statistics 1e-5"
FORWARD, GRADIENT, STATE = 5e-4, 5e-3, 1e-5


@pytest.mark.parametrize("case", ["pixpro_r50_step", "pixpro_r50_instance_default"])
def test_values_step(case: str) -> None:
    golden = Golden("pixpro", case)
    options, about = golden.entry["options"], golden.entry["arrays"]
    model = pixpro_of(options, torch.float32)
    recorder = Recorder(model)
    (first, shape), (second, _), *_ = golden.entry["inputs"]
    views = step_views([first, second], shape, boxes_of(golden, torch.float32))
    losses, momentum = forward(model, views, options["k"])
    loss = sum(value for name, value in losses.items() if "loss" in name)
    loss.backward()

    assert momentum == pytest.approx(float(golden.arrays["momentum"]), rel=1e-6)
    assert model.twin.momentum.length == golden.arrays["K"]
    assert loss.item() == pytest.approx(float(golden.arrays["loss"]), rel=FORWARD)
    if "loss_instance" in golden.arrays:
        expected = float(golden.arrays["loss_instance"])
        assert losses["loss_instance"].item() == pytest.approx(expected, rel=FORWARD)
    for name in golden.arrays:
        if name.startswith(("feat", "pr")) and "__" not in name:
            compare(golden, name, recorder.array(name), rtol=FORWARD)

    found = official_norms(model, to_official, named_in(about["grad_norms"]["meaning"]), gradient)
    expected = torch.from_numpy(golden.arrays["grad_norms"]).double()
    torch.testing.assert_close(found, expected, rtol=GRADIENT, atol=0)
    learning = [p.grad.double().norm() for p in model.parameters() if p.requires_grad]
    compare(golden, "grad_norm_total", torch.stack(learning).norm(), rtol=GRADIENT)

    keys = named_in(about["key_norms"]["meaning"])
    state = {name: value.double() for name, value in to_official(model.state_dict()).items()}
    compare(golden, "key_norms", torch.stack([state[name].norm() for name in keys]), rtol=STATE)
    apart = [(state[name] - state[name.replace("_k.", ".")]).norm() for name in keys]
    compare(golden, "key_minus_query_norm", torch.stack(apart), rtol=STATE)
    statistics = [state[name] for name in named_in(about["stat_sums"]["meaning"])]
    compare(golden, "stat_sums", torch.stack([s.sum() for s in statistics]), rtol=STATE)
    compare(golden, "stat_norms", torch.stack([s.norm() for s in statistics]), rtol=STATE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_lars_loop(dtype: torch.dtype) -> None:
    golden = Golden("pixpro", "pixpro_r50_lars_loop")
    options, about = golden.entry["options"], golden.entry["arrays"]
    model = pixpro_of(options, dtype)
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer = LARS(
        [
            dict(params=[p for p in learning if p.ndim > 1]),
            dict(params=[p for p in learning if p.ndim <= 1], weight_decay=0.0, lars_exclude=True),
        ],
        lr=1.0,
        weight_decay=options["weight_decay"],
    )
    boxes = boxes_of(golden, dtype)
    shape = golden.entry["inputs"][0][1]
    losses, momenta = [], []
    for step in range(options["iterations"]):
        names = [f"{golden.case}_{step}_im{view}" for view in (1, 2)]
        found, momentum = forward(model, step_views(names, shape, boxes), step)
        for group in optimizer.param_groups:
            group["lr"] = float(golden.arrays["lr"][step])
        optimizer.zero_grad()
        found["loss_pixel"].backward()
        optimizer.step()
        losses.append(found["loss_pixel"].item())
        momenta.append(momentum)

    assert losses == pytest.approx(golden.arrays["losses"].tolist(), abs=1e-3)
    assert momenta == pytest.approx(golden.arrays["momentum"].tolist(), rel=1e-7)
    names = named_in(about["param_norms"]["meaning"])
    compare(
        golden,
        "param_norms",
        official_norms(model, to_official, names, torch.Tensor.detach),
        rtol=1e-5,
    )
    keys = named_in(about["key_norms"]["meaning"])
    compare(
        golden,
        "key_norms",
        official_norms(model, to_official, keys, torch.Tensor.detach),
        rtol=1e-5,
    )
    state = to_official(model.state_dict())
    for name, key, rtol in (
        ("projector_linear2", "projector.linear2.weight", 1e-5),
        ("conv1", "encoder.conv1.weight", 1e-5),
        ("conv1_k", "encoder_k.conv1.weight", 1e-5),
        ("bn1_bias", "encoder.bn1.bias", 1e-2),  # it moves by its changes' tolerance
    ):
        compare(golden, name, state[key], rtol=rtol)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter -= start[name]
    changes = official_norms(model, to_official, names, torch.Tensor.detach)
    expected = torch.from_numpy(golden.arrays["param_change_norms"]).double()
    torch.testing.assert_close(changes, expected, rtol=1e-2, atol=0)
