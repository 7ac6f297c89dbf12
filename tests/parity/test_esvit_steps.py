"""Training steps of EsViT and DINO against the official program: everything that a step does."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from mmssl.convert.key_map import check_complete
from mmssl.convert.official.dino import from_official, to_official
from mmssl.engine.hooks import FreezeHook
from mmssl.engine.optimizers import LARS, ParamGroupConstructor
from mmssl.engine.optimizers.optim_wrapper import OptimWrapper
from mmssl.engine.schedulers import WarmupCosineLR
from mmssl.models.algorithms import DINO, BaseAlgorithm, EsViT
from mmssl.models.backbones import Swin
from mmssl.models.heads import DINOHead
from mmssl.ops.schedules import Cosine, LinearWarmup
from mmssl.structures import Progress, ViewBatch
from tests.helpers.fill import fill, image
from tests.helpers.goldens import Golden
from tests.helpers.official_steps import unlabelled

pytestmark = pytest.mark.parity

EPOCHS, PER_EPOCH = 4, 2
TOTAL = EPOCHS * PER_EPOCH
UNDECAYED = ("bias", "norm", "vector")
# Sizes of global and local crops, numbers of local crops, peak of the learning rate.
CASES = {
    "train_step": (224, 96, 2, 0.002),
    "train_step_view_only": (224, 96, 3, 0.002),
    "train_step_lars": (112, 64, 2, 0.3),
}


def build(case: str, golden: Golden) -> BaseAlgorithm:
    """The model of a case, with the official fill of student and teacher through the converter."""
    large = CASES[case][0]
    backbone = Swin(
        16, depths=(2, 1, 2, 1), num_heads=(1, 2, 4, 4), pretrain_img_size=large, drop_path_rate=0.0
    )
    prototypes = golden.entry["arrays"]["center"]["shape"][-1]
    free = case == "train_step_view_only"

    def head() -> DINOHead:
        return DINOHead(
            128, prototypes, hid_channels=64, bottleneck_channels=32, norm_last_layer=not free
        )

    options = dict(
        teacher_temperature=LinearWarmup(0.04, 0.07, 2),
        momentum=Cosine(0.9, 1.0),
        max_logits=prototypes * 50,
    )
    if free:
        model: BaseAlgorithm = DINO(backbone, head(), **options)
    else:
        model = EsViT(backbone, head(), head(), **options)
    theirs = to_official(model.state_dict())
    for name, tensors in theirs.items():
        for key in tensors:
            plain = ("teacher." if name == "teacher" else "") + key.removeprefix("module.")
            value = fill(plain, tensors[key].shape)
            if "weight_g" in key:
                value = 1 + 0.1 * value if free else torch.ones_like(value)
            tensors[key] = torch.zeros_like(value) if name == "dino_loss" else value
    ours = from_official(theirs)
    check_complete(ours, model.state_dict())
    model.load_state_dict(ours)
    return model.train()


def optimizer_of(case: str, model: BaseAlgorithm, golden: Golden) -> OptimWrapper:
    """The wrapper of a config like those of the recipes."""
    peak, clip = CASES[case][3], golden.entry["schedule"]["clip_grad"]
    optimizer = dict(type="AdamW", lr=peak, weight_decay=0.04)
    groups = dict(no_decay=UNDECAYED)
    if case == "train_step_lars":
        optimizer["type"] = LARS
        groups["lars_exclude"] = UNDECAYED
    options = dict(type=OptimWrapper, optimizer=optimizer)
    if clip:
        options["clip_grad"] = dict(type="per_tensor", max_norm=clip)
    return ParamGroupConstructor(options, groups)(model)


def official_names(model: BaseAlgorithm, values: dict[str, Tensor]) -> dict[str, Tensor]:
    """`values` of the online network by their names; those without a value are left out."""
    theirs = to_official({name: value for name, value in values.items() if value is not None})
    return {key.removeprefix("module."): value for key, value in theirs["student"].items()}


def norms_of(model: torch.nn.Module, golden: Golden, gradients: bool = False) -> Tensor:
    values = {
        name: parameter.grad if gradients else parameter.detach()
        for name, parameter in model.named_parameters()
        if not name.startswith("twin.")
    }
    named = official_names(model, values)
    return torch.stack([named[key].norm() for key in golden.entry["parameters"]])


def crops(case: str, epoch: int, iteration: int) -> ViewBatch:
    large, small, num_small, _ = CASES[case]
    sizes = [large, large] + [small] * num_small
    images = [
        image(f"{case}/e{epoch}i{iteration}/c{crop}", (2, 3, size, size))
        for crop, size in enumerate(sizes)
    ]
    return unlabelled(images)


@pytest.mark.parametrize("case", CASES)
def test_values_training_steps(case: str) -> None:
    golden = Golden("esvit", case)
    model = build(case, golden)
    wrapper = optimizer_of(case, model, golden)
    schedulers = [
        WarmupCosineLR(
            wrapper, warmup=PER_EPOCH, eta_min=1e-6, peak_twice=True, by_epoch=False, end=TOTAL
        ),
        WarmupCosineLR(wrapper, eta_min=0.4, param_name="weight_decay", by_epoch=False, end=TOTAL),
    ]
    heads = ["head.last_layer"] + ["region_head.last_layer"] * hasattr(model, "region_head")
    runner = SimpleNamespace(model=model, optim_wrapper=wrapper, epoch=0)
    FreezeHook(heads).before_train(runner)
    found: dict[str, list] = {}
    for step in range(golden.entry["schedule"]["steps_run"]):
        epoch = step // PER_EPOCH
        runner.epoch = epoch
        model.progress = Progress(step, TOTAL, epoch, EPOCHS)
        losses = model(crops(case, epoch, step % PER_EPOCH), mode="loss")
        loss = sum(value for name, value in losses.items() if "loss" in name)
        loss.backward()
        values = dict(loss=loss.detach(), grad_norms=norms_of(model, golden, gradients=True))
        wrapper.step()
        wrapper.zero_grad()
        model.twin.update(model, step, TOTAL)
        for scheduler in schedulers:
            scheduler.step()
        values["student_norms"] = norms_of(model, golden)
        values["teacher_norms"] = norms_of(model.twin, golden)
        values["center"] = model.center.mean.clone()
        if hasattr(model, "region_center"):
            values["center_grid"] = model.region_center.mean.clone()
        for name, value in values.items():
            found.setdefault(name, []).append(value)
    for name, parts in found.items():
        golden.check(name, torch.stack(parts))
    weight = "backbone.stages.0.blocks.0.attn.w_msa.qkv.weight"
    golden.check("student_qkv", model.get_parameter(weight))
    golden.check("teacher_qkv", model.twin.get_parameter(weight))


def test_values_schedules() -> None:
    golden = Golden("esvit", "schedules")

    def table(name: str, base: float, epochs: int, per_epoch: int, **options) -> np.ndarray:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base)
        optimizer.param_groups[0]["weight_decay"] = base
        scheduler = WarmupCosineLR(
            optimizer, param_name=name, by_epoch=False, end=epochs * per_epoch, **options
        )
        values = []
        for _ in range(epochs * per_epoch):
            values.append(optimizer.param_groups[0][name])
            scheduler.step()
        return np.array(values)

    warm = dict(eta_min=1e-6, peak_twice=True)
    golden.check("lr", table("lr", 1e-3, 20, 50, warmup=100, **warm))
    golden.check("wd", table("weight_decay", 0.04, 20, 50, eta_min=0.4))
    golden.check("lr_full", table("lr", 1e-3, 300, 2502, warmup=25020, **warm))
    momentum = Cosine(0.996, 1.0)
    golden.check("momentum", np.array([momentum(step, 1000) for step in range(1000)]))
    temperature = LinearWarmup(0.04, 0.07, 30)
    golden.check("teacher_temp", np.array([temperature(e, 300) for e in range(300)]))
    constant = LinearWarmup(0.04, 0.04, 0)
    golden.check("teacher_temp_default", np.array([constant(e, 100) for e in range(100)]))


def test_values_parameter_groups() -> None:
    """Which parameters the official program decays: biases and vectors not, bias tables and lengths yes."""
    golden = Golden("esvit", "param_groups")
    assert re.search(r"head_dense \(BN\)", golden.entry["built"])
    options = dict(norm_last_layer=False, hid_channels=8, bottleneck_channels=8)
    model = EsViT(
        Swin(8, depths=(1, 2, 1, 1), num_heads=(1, 1, 2, 2)),
        DINOHead(64, 16, **options),
        DINOHead(64, 16, use_bn=True, **options),
    )
    config = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=1.0, weight_decay=0.04))
    optimizer = ParamGroupConstructor(config, dict(no_decay=UNDECAYED))(model).optimizer
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    groups = {
        name: torch.tensor({0.04: 0, 0.0: 1, None: -1}[decay.get(id(parameter))])
        for name, parameter in model.named_parameters()
        if not name.startswith("twin.")
    }
    # The converter reorders tensors, not numbers: only names are wanted of it.
    marks = {name: torch.full_like(p, float(groups[name])) for name, p in model.named_parameters()
             if name in groups}  # fmt: skip
    theirs = official_names(model, marks)
    found = torch.stack([theirs[name].flatten()[0] for name in golden.entry["parameters"]])
    golden.check("group", found.long())
