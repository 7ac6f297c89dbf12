"""MoCo v1 and v2 over several SGD steps against the official code, through the converter."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from mmssl.convert.official.moco import to_official
from mmssl.models.algorithms import MoCo
from mmssl.models.algorithms import moco as moco_module
from mmssl.structures import Progress
from tests.helpers import contrast_steps as steps
from tests.helpers.fill import image
from tests.helpers.goldens import Golden
from tests.helpers.official_steps import unlabelled

pytestmark = pytest.mark.parity


class Seen:
    """Keeps the arguments of the last contrast."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loss = moco_module.info_nce
        monkeypatch.setattr(moco_module, "info_nce", self)

    def __call__(self, q: Tensor, k: Tensor, queue: Tensor, *, temperature: float) -> Tensor:
        self.logits = steps.contrast_logits(q, k, queue, temperature)
        return self.loss(q, k, queue, temperature=temperature)


def step_of(model: MoCo, names: tuple[str, str], shape: list[int], number: int) -> Tensor:
    """The loss of a step; theirs moves the key encoder in the forward pass, also the first time."""
    dtype = model.queue.features.dtype
    images = [image(name, shape).to(dtype) for name in names]
    views = unlabelled(images)
    model.progress = Progress(number, 10, 0, 1)
    model.twin.update(model, number, 10)
    return model(views, mode="loss")["loss"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", ["mocov1_r18_w1", "mocov2_r18_w1"])
def test_values_three_steps(case: str, dtype: torch.dtype, monkeypatch) -> None:
    golden = Golden("baselines", case)
    text, shape = golden.entry["built"], golden.entry["inputs"][0][1]
    option = {name: float(v) for name, v in re.findall(r"(\w+)=([\d.]+)", text)}
    mlp = "mlp=True" in text
    model = MoCo(
        steps.resnet18(),
        steps.neck(int(option["dim"]), mlp=mlp),
        queue_length=int(option["K"]),
        temperature=option["T"],
        momentum=option["m"],
    )
    steps.fill_model(model, dtype)
    lr = float(re.search(r"lr=([\d.]+)", golden.entry["training"])[1])
    optimizer, seen, losses = steps.sgd(model, lr), Seen(monkeypatch), []
    prefix = golden.entry["inputs"][0][0].split("/")[0]
    for number in range(3):
        loss = step_of(model, (f"{prefix}/q{number}", f"{prefix}/k{number}"), shape, number)
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.detach())
        assert int(model.queue.pointer) == int(golden.arrays[f"ptr_after_step{number}"][0])
        if number == 0:
            names = golden.entry["grad_params"]
            golden.check("logits_step0", seen.logits)
            golden.check("grad_norms_step0", steps.norms(model, names, steps.gradient), dtype)
            golden.check("k_conv1_after_step0", model.twin.backbone.conv1.weight)
        optimizer.step()
    theirs = to_official(model.state_dict())
    last = "fc.2.bias" if mlp else "fc.bias"
    golden.check("losses", torch.stack(losses))
    golden.check("logits_last", seen.logits)
    golden.check("queue_last", theirs["queue"])
    golden.check("q_fc_bias_last", theirs[f"encoder_q.{last}"])
    golden.check("k_fc_bias_last", theirs[f"encoder_k.{last}"])
    golden.check("k_bn1_running_mean_last", theirs["encoder_k.bn1.running_mean"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_five_steps_round_the_queue(dtype: torch.dtype, monkeypatch) -> None:
    golden = Golden("hcsc", "moco_r18_wrap")
    about, shape = golden.entry["built"], golden.entry["inputs"][0]["shape"]
    model = MoCo(
        steps.resnet18(),
        steps.neck(about["dim"], mlp=about["mlp"]),
        queue_length=about["K"],
        temperature=about["T"],
        momentum=about["m"],
    )
    steps.fill_model(model, dtype)
    optimizer, seen, losses = steps.sgd(model, 0.03), Seen(monkeypatch), []
    for number in range(about["steps"]):
        names = (f"{golden.case}/q{number}", f"{golden.case}/k{number}")
        loss = step_of(model, names, shape, number)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        assert int(model.queue.pointer) == int(golden.arrays[f"queue_ptr{number}"][0])
        if f"logits{number}" in golden.arrays:
            found = steps.after_step(model, golden.entry["grad_names"])
            found = {f"step{number}/{name}": value for name, value in found.items()}
            steps.check(golden, found | {f"logits{number}": seen.logits}, dtype)
    theirs = to_official(model.state_dict())
    steps.check(golden, dict(losses=torch.stack(losses), queue=theirs["queue"]), dtype)
