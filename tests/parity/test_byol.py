"""BYOL's heads, loss, optimizer and twin over three steps against the authors' JAX code."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmssl.convert.key_map import Rename, check_complete, rename_keys
from mmssl.engine.optimizers import LARS, ParamGroupConstructor
from mmssl.engine.schedulers import warmup_cosine
from mmssl.models.algorithms import BYOL
from mmssl.ops.schedules import Cosine
from mmssl.structures import Progress, ViewBatch
from tests.helpers.fill import fill, image
from tests.helpers.goldens import Golden

pytestmark = pytest.mark.parity

RULES = [
    Rename("online.projector.{rest}", "neck.layers.{rest}"),
    Rename("online.predictor.{rest}", "head.layers.{rest}"),
    Rename("target.projector.{rest}", "twin.neck.layers.{rest}"),
]


class Features(nn.Module):
    """Stands for a backbone: the golden begins at its pooled features."""

    out_channels = (24,)

    def forward(self, images):
        return (images,)


def vectors(name: str) -> torch.Tensor:
    return image(name, [8, 24])[:, :, None, None].double()


def build() -> BYOL:
    norm = dict(type="BN1d", track_running_stats=False)
    model = BYOL(
        Features(),
        dict(type="MLPNeck", hid_channels=32, out_channels=16, last_bias=False, norm_cfg=norm),
        dict(type="MLPPredictor", hid_channels=32, last_bias=False, norm_cfg=norm),
        momentum=Cosine(0.9, 1.0),
    )
    state = {k: v for k, v in model.state_dict().items() if k != "twin.num_updates"}
    theirs = rename_keys(state, RULES, backward=True)
    ours = rename_keys({key: fill(key, value.shape) for key, value in theirs.items()}, RULES)
    check_complete(ours, state)
    model.load_state_dict(ours, strict=False)
    return model.double().train()


def test_values_three_steps():
    golden = Golden("baselines", "byol_heads_a")
    model = build()
    constructor = ParamGroupConstructor(
        dict(type="OptimWrapper", optimizer=dict(type=LARS, lr=1.0, weight_decay=1e-4)),
        dict(no_decay=("bias", "norm"), lars_exclude=("bias", "norm")),
    )
    optimizer = constructor(model).optimizer
    total, losses, rates, momenta = 20, [], [], []
    for step in range(3):
        # the golden numbers its steps from 1
        rate = warmup_cosine(step + 1, peak=0.45, start=0.0, end=0.0, warmup=2, total=total)
        for group in optimizer.param_groups:
            group["lr"] = rate
        views = ViewBatch(
            [vectors(f"byola/a{step}"), vectors(f"byola/b{step}")],
            torch.arange(8),
            [],
            torch.full((8,), -1),
            [],
        )
        model.progress = Progress(step, total, 0, 1)
        if step == 0:
            prediction = model.head(model.project(model, views.images[0]))
            golden.check("prediction_view1_step0", prediction)
            golden.check(
                "target_projection_view2_step0", model.project(model.twin, views.images[1])
            )
        loss = model(views, mode="loss")["loss"]
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            names = {
                Rename("projector.{r}", "neck.layers.{r}"),
                Rename("predictor.{r}", "head.layers.{r}"),
            }
            parameters = rename_keys(
                {k: v for k, v in model.named_parameters() if not k.startswith("twin.")},
                list(names),
                backward=True,
            )
            norms = [parameters[name].grad.norm() for name in golden.entry["grad_params"]]
            golden.check("grad_norms_step0", torch.stack(norms))
            assert all(p.grad is None for p in model.twin.parameters())
        optimizer.step()
        losses.append(float(loss))
        rates.append(rate)
        momenta.append(model.twin.update(model, step + 1, total))
    golden.check("losses", losses)
    golden.check("lrs", rates)
    golden.check("taus", momenta)
    golden.check("online_projector_out_last", model.neck.layers[3].weight)
    golden.check("online_projector_bn_last", model.neck.layers[1].weight)
    golden.check("online_projector_bias_last", model.neck.layers[0].bias)
    golden.check("target_projector_out_last", model.twin.neck.layers[3].weight)
