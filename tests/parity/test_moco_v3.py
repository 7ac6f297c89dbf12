"""MoCo v3 on a ResNet (LARS) and on a ViT (AdamW) against the official code, through the converter."""

from __future__ import annotations

import pytest
import torch

from mmssl.convert.official.moco_v3 import from_official, to_official
from mmssl.engine.optimizers import LARS, ParamGroupConstructor
from mmssl.engine.schedulers import warmup_cosine
from mmssl.models.algorithms import MoCoV3
from mmssl.models.backbones import ResNet, VisionTransformer
from mmssl.ops.schedules import Cosine
from tests.helpers import official_steps as steps
from tests.helpers.goldens import Golden

pytestmark = pytest.mark.parity
SMALL = dict(hid_channels=32)


def on_resnet() -> MoCoV3:
    return MoCoV3(
        ResNet(18, out_indices=(3,), zero_init_residual=True),
        dict(type="MLPNeck", out_channels=16, **SMALL),
        dict(type="MLPPredictor", last_norm_cfg=None, **SMALL),
        temperature=1.0,
    )


def vit(dim: int = 48, **options) -> VisionTransformer:
    return VisionTransformer(
        dim,
        positions="sincos",
        frozen_patch_embed=True,
        weight_init="xavier",
        drop_path_rate=0.0,
        **options,
    )


def on_vit() -> MoCoV3:
    return MoCoV3(
        vit(depth=2, num_heads=3, pretrain_img_size=64),
        dict(type="MLPNeck", out_channels=16, num_layers=3, **SMALL),
        dict(type="MLPPredictor", **SMALL),
        temperature=0.2,
    )


def options_of(case: str, model: MoCoV3) -> torch.optim.Optimizer:
    if case == "mocov3_r18_w1":
        kinds = dict(no_decay=("bias", "norm"), lars_exclude=("bias", "norm"))
        optimizer = dict(type=LARS, lr=0.02, weight_decay=1e-4)
        wrapper = ParamGroupConstructor(dict(type="OptimWrapper", optimizer=optimizer), kinds)
        return wrapper(model).optimizer
    online = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.AdamW(online, lr=1e-3, weight_decay=0.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", ["mocov3_r18_w1", "mocov3_vit_w1"])
def test_values_steps(case: str, dtype: torch.dtype) -> None:
    golden = Golden("baselines", case)
    model = on_resnet() if case == "mocov3_r18_w1" else on_vit()
    steps.fill_through(model, to_official, from_official, dtype, kept=("pos_embed",))
    optimizer = options_of(case, model)
    prefix = golden.entry["inputs"][0][0].split("/")[0]
    last = model.twin.neck.layers[3 if case == "mocov3_r18_w1" else 6]
    losses = []
    for step, momentum in enumerate(golden.entry["moco_m_per_step"]):
        names = [f"{prefix}/{view}{step}" for view in "ab"]
        views = steps.views_of(names, [(8, 3, 64, 64)] * 2, dtype)
        model.twin.momentum = lambda *_, value=momentum: value
        model.twin.update(model, step, 10)
        if step == 0:
            with torch.no_grad():
                states = {key: value.clone() for key, value in model.state_dict().items()}
                golden.check("q1_step0", model.head(model.project(model, views.images[0])))
                model.load_state_dict(states)
            golden.check("momentum_last_linear_after_step0", last.weight)
        loss = steps.loss_of(model, views, step=step)["loss"]
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            norms = steps.gradient_norms(model, to_official, golden.entry["grad_params"])
            golden.check("grad_norms_step0", norms)
        optimizer.step()
        losses.append(loss.detach())
    golden.check("losses", torch.stack(losses))
    golden.check("predictor_w_last", model.head.layers[0].weight)
    norm = model.backbone.bn1 if case == "mocov3_r18_w1" else model.backbone.norm
    golden.check("norm_gamma_last", norm.weight)
    if case == "mocov3_vit_w1":
        golden.check("pos_embed", model.backbone.pos_embed)
        assert all(p.grad is None for p in model.backbone.patch_embed.parameters())


@pytest.mark.parametrize("dim", [384, 768])
def test_values_positions(dim: int) -> None:
    golden = Golden("baselines", "mocov3_pos_embed")
    backbone = vit(dim, depth=1, num_heads=12)
    golden.check(f"pos_embed_{dim}", backbone.pos_embed.detach())
    before = backbone.pos_embed.clone()
    backbone.init_weights()
    assert torch.equal(before, backbone.pos_embed)


def test_values_learning_rate_and_momentum() -> None:
    """Two epochs of warm-up, 20 of five iterations; as a runner's schedule and as the twin's."""
    arrays = Golden("baselines", "schedules_a")
    rates = [
        warmup_cosine(step, peak=9.6, start=0.0, end=0.0, warmup=10, total=100)
        for step in range(100)
    ]
    arrays.check("mocov3_lr", torch.tensor(rates, dtype=torch.float64))
    momentum = Cosine(0.99, 1.0)
    values = [momentum(step, 100) for step in range(100)]
    arrays.check("mocov3_m", torch.tensor(values, dtype=torch.float64))
