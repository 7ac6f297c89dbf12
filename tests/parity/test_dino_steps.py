"""DINO on a ViT over five AdamW iterations against its own code: schedules, clipping, frozen layer, twin."""

from __future__ import annotations

import pytest
import torch

from mmssl.convert.official.dino import from_official, to_official
from mmssl.engine.optimizers import ParamGroupConstructor
from mmssl.engine.optimizers.clip import clip_per_tensor
from mmssl.engine.schedulers import warmup_cosine
from mmssl.models.algorithms import DINO
from mmssl.models.backbones import VisionTransformer, crop_features
from mmssl.ops.schedules import Cosine, LinearWarmup
from mmssl.structures import Progress
from tests.helpers import official_steps as steps
from tests.helpers.fill import fill
from tests.helpers.goldens import Golden
from tests.helpers.official_steps import gradient

pytestmark = pytest.mark.parity
PER_EPOCH, EPOCHS = 2, 4


def build(dtype: torch.dtype) -> DINO:
    model = DINO(
        VisionTransformer(
            48, depth=2, num_heads=3, pretrain_img_size=64, drop_path_rate=0.0, pos_interp="dino"
        ),
        dict(out_channels=40, hid_channels=64, bottleneck_channels=24, norm_last_layer=True),
        teacher_temperature=LinearWarmup(0.04, 0.07, 2),
        momentum=Cosine(0.9, 1.0),
    )
    theirs = to_official(model.state_dict())
    filled = {
        part: {
            key: torch.ones_like(value)
            if key.endswith("weight_g")
            else fill(
                ("teacher." if part == "teacher" else "") + key.removeprefix("module."), value.shape
            )
            for key, value in theirs[part].items()
        }
        for part in ("student", "teacher")
    }
    ours = from_official(filled)
    missing = model.load_state_dict(ours, strict=False)
    assert not missing.unexpected_keys and set(missing.missing_keys) <= {"center.mean"}
    return model.to(dtype).train()


def student_names(model: DINO, value) -> dict[str, torch.Tensor]:
    online = {n: value(p) for n, p in model.named_parameters() if not n.startswith("twin.")}
    student = to_official(model.state_dict() | online)["student"]
    return {key.removeprefix("module."): tensor for key, tensor in student.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_five_iterations(dtype: torch.dtype) -> None:
    golden = Golden("baselines", "dino_vit_adamw")
    model = build(dtype)
    kinds = dict(no_decay=("bias", "norm", "vector"))
    optimizer = ParamGroupConstructor(
        dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.04)), kinds
    )(model).optimizer
    decayed = {
        bool(group["weight_decay"]): len(group["params"]) for group in optimizer.param_groups
    }
    assert [decayed[True], decayed[False]] == golden.arrays["n_params_groups"].tolist()
    total = PER_EPOCH * EPOCHS
    found: dict[str, list] = dict(losses=[], clip_norms_max=[], center_first8=[])
    for step in range(5):
        epoch = step // PER_EPOCH
        rates = dict(warmup=PER_EPOCH, total=total, start=0.0, peak_twice=True)
        lr = warmup_cosine(step, peak=1e-3, end=1e-5, **rates)
        decay = warmup_cosine(step, peak=0.04, end=0.4, start=0.0, warmup=0, total=total)
        for group in optimizer.param_groups:
            group["lr"] = lr
            if group["weight_decay"]:
                group["weight_decay"] = decay
        names = [f"dinoa/i{step}c{crop}" for crop in range(5)]
        shapes = [(4, 3, size, size) for size in (64, 64, 32, 32, 32)]
        views = steps.views_of(names, shapes, dtype)
        model.progress = Progress(step, total, epoch, EPOCHS)
        if step == 0:
            with torch.no_grad():
                for part, net, images in (
                    ("student", model, views.images),
                    ("teacher", model.twin, views.images[:2]),
                ):
                    rows = crop_features(net.backbone, images).views.transpose(0, 1).flatten(0, 1)
                    golden.check(f"{part}_out_step0", net.head(rows))
        loss = model(views, mode="loss")["loss"]
        optimizer.zero_grad()
        loss.backward()
        gradients = student_names(model, gradient)
        if step == 0:
            norms = [gradients[name].norm() for name in golden.entry["grad_params"]]
            golden.check("grad_norms_step0", torch.stack(norms))
        online = [p for p in model.parameters() if p.requires_grad]
        largest = max(p.grad.norm() for p in online)
        clip_per_tensor(online, 3.0)
        if epoch < 1:
            for parameter in model.head.last_layer.parameters():
                parameter.grad = None
        optimizer.step()
        model.twin.update(model, step, total)
        found["losses"].append(loss.detach())
        found["clip_norms_max"].append(largest)
        found["center_first8"].append(model.center.mean.flatten()[:8].clone())
    for name, values in found.items():
        golden.check(name, torch.stack(values))
    golden.check("center_last", model.center.mean)
    golden.check("student_last_layer_v_last", model.head.last_layer.weight_v)
    golden.check("teacher_mlp0_w_last", model.twin.head.mlp[0].weight)
