"""NPID's losses, gradients and bank over three steps on given features, against the official code."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmssl.models.algorithms import NPID
from mmssl.structures import Progress
from tests.helpers.fill import fill, image
from tests.helpers.given import Given, Same
from tests.helpers.goldens import Golden
from tests.helpers.official_steps import unlabelled

pytestmark = pytest.mark.parity


class Features:
    """The projection, and its last result with the gradient: ours normalises once more behind the input."""

    def __init__(self, model: NPID) -> None:
        self.project = model.project
        model.project = self

    def __call__(self, images: Tensor) -> Tensor:
        self.last = self.project(images)
        self.last.retain_grad()
        return self.last


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", ["npid_nce_a", "npid_full_a"])
def test_values_three_steps(case: str, dtype: torch.dtype) -> None:
    golden = Golden("baselines", case)
    option = {n: float(v) for n, v in re.findall(r"(\w+)=([\d.]+)", golden.entry["built"])}
    num, dim = int(option["n"]), int(option["d"])
    sampled = "K" in option
    model = NPID(
        Given(dim),
        Same(dim),
        num,
        num_negatives=int(option["K"]) if sampled else None,
        criterion="nce" if sampled else "cross_entropy",
        temperature=option["T"],
        bank_momentum=option["momentum"],
    ).to(dtype)
    model.bank.features.copy_(fill("memory", (num, dim)))
    model.progress = Progress(0, 1, 0, 1)
    features, losses, constants = Features(model), [], []
    (name, shape), *_ = golden.entry["inputs"]
    for step, own in enumerate(torch.from_numpy(golden.arrays["y"])):
        if sampled:
            drawn = torch.from_numpy(golden.arrays["idx"][step])
            assert torch.equal(drawn[:, 0], own)
            model.draw = lambda rows, drawn=drawn: drawn[:, 1:]
        given = F.normalize(image(name.replace("<s>", str(step)), shape).to(dtype), dim=1)
        given.requires_grad_()
        views = unlabelled([given[:, :, None, None]], own)
        before = model.bank.features.clone()
        loss = model(views, mode="loss")["loss"]
        loss.backward()
        losses.append(loss.detach())
        constants.append(model.normalizer.clone())
        if step == 0:
            products = features.last.detach() @ before.T / option["T"]
            golden.check("grad_x_step0", features.last.grad)
            if sampled:
                probabilities = products.gather(1, drawn).exp() / model.normalizer
                golden.check("probs_step0", probabilities)
                golden.check("memory_after_step0", model.bank.features)
            else:
                golden.check("logits_step0", products)
    golden.check("losses", torch.stack(losses))
    golden.check("memory_last", model.bank.features)
    if sampled:
        golden.check("Z", torch.stack(constants))
