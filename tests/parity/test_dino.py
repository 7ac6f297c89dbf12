"""DINO heads and the losses of DINO and EsViT against the official code."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmssl.losses import (
    distillation,
    mixed_distillation,
    pair_weights,
    prototype_distillation,
    region_pairs,
)
from mmssl.models.heads import DINOHead
from mmssl.models.memories import Center
from tests.helpers.fill import fill, image
from tests.helpers.goldens import Golden

pytestmark = pytest.mark.parity

HEADS = {
    "dino_head": {},
    "dino_head_free_g": dict(norm_last_layer=False),
    "dino_head_bn": dict(use_bn=True),
    "dino_head_1layer": dict(num_layers=1, norm_last_layer=False),
}
# Teacher temperature of each call, from the tables of the cases.
LOSSES = {"ddino_loss": [0.04, 0.04, 0.055, 0.07], "ddino_loss_2local": [0.05, 0.05]}


@pytest.mark.parametrize("case", HEADS)
def test_values_head(case: str) -> None:
    golden = Golden("esvit", case)
    name, shape = golden.entry["inputs"][0]
    prototypes = golden.entry["arrays"]["logits"]["shape"][1]
    head = DINOHead(shape[1], prototypes, hid_channels=64, bottleneck_channels=32, **HEADS[case])
    state = {key: fill(key, value.shape) for key, value in head.state_dict().items()}
    length = state["last_layer.weight_g"]
    free = head.last_layer.weight_g.requires_grad
    state["last_layer.weight_g"] = 1 + 0.1 * length if free else torch.ones_like(length)
    head.load_state_dict(state)
    head.train()
    x = image(name, shape).requires_grad_()
    logits = head(x)
    (logits * image(f"{case}/probe", logits.shape)).sum().backward()
    golden.check("logits", logits)
    golden.check("grad_input", x.grad)
    parameters = dict(head.named_parameters())
    norms = [parameters[key].grad.norm() for key in golden.entry["parameters"]]
    golden.check("grad_norms", torch.stack(norms))
    if case == "dino_head_bn":
        golden.check("bn_running_mean", head.mlp[1].running_mean)


def test_raises_a_norm_that_is_nowhere() -> None:
    with pytest.raises(ValueError, match="is the norm of use_bn=True, which is not set"):
        DINOHead(8, 16, norm_cfg=dict(type="SyncBN"))
    head = DINOHead(8, 16, use_bn=True, norm_cfg=dict(type="SyncBN"))
    assert sum(isinstance(each, torch.nn.SyncBatchNorm) for each in head.mlp) == 2


def per_image(rows: Tensor, sizes: list[int], num_images: int) -> Tensor:
    """Official rows (view by view, image by image) to (B, rows of all views, ...)."""
    parts = rows.split([size * num_images for size in sizes])
    return torch.cat([part.unflatten(0, (num_images, -1)) for part in parts], dim=1)


def loss_of_logits(
    student: Tensor, teacher: Tensor, center: Tensor, pairs: Tensor, temperature: float, fused: bool
) -> Tensor:
    """The loss of logits (B, rows, K), by either implementation; an identity makes them of rows."""
    if not fused:
        targets = ((teacher - center) / temperature).softmax(-1)
        return distillation(student, targets, pairs.to(targets))
    identity = torch.eye(student.shape[-1], dtype=student.dtype)
    return prototype_distillation(
        student, identity, teacher, identity, center, pairs,
        teacher_temperature=temperature, max_logits=1500,
    )  # fmt: skip


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", LOSSES)
def test_values_views_and_regions(case: str, dtype: torch.dtype, fused: bool) -> None:
    """Losses, gradients, matches and both centres over several calls in a row."""
    golden = Golden("esvit", case)
    shapes = {name: shape for name, shape in golden.entry["inputs"] if shape}
    num_images, num_views = golden.entry["batch"], golden.entry["views"]
    regions = golden.entry["regions"]
    sizes = [regions["global_view"]] * 2 + [regions["local_view"]] * (num_views - 2)
    ones = [1] * num_views
    centers = [Center(shapes["t_cls"][1]).to(dtype) for _ in range(2)]
    found: dict[str, list[Tensor]] = {}
    for call, temperature in enumerate(LOSSES[case]):
        data = {
            name: image(f"{case}/{call}/{name}", shape).to(dtype) for name, shape in shapes.items()
        }
        student = [(0.3 * data[name]).requires_grad_() for name in ("s_cls", "s_region")]
        teacher = [0.3 * data[name] for name in ("t_cls", "t_region")]
        pairs = region_pairs(
            per_image(data["s_fea"], sizes, num_images),
            per_image(data["t_fea"], sizes[:2], num_images),
            sizes,
        )
        terms = [
            loss_of_logits(
                per_image(rows, rows_per_view, num_images),
                per_image(targets, rows_per_view[:2], num_images),
                center.mean, weights, temperature, fused,
            )
            for rows, targets, rows_per_view, center, weights in zip(
                student, teacher, (ones, sizes), centers, (pair_weights(ones), pairs), strict=True
            )
        ]  # fmt: skip
        loss = 0.5 * terms[0] + 0.5 * terms[1]
        loss.backward()
        for center, logits in zip(centers, teacher, strict=True):
            center.update(logits.mean(0))
        values = dict(
            loss=loss.detach(), view=terms[0].detach(), region=terms[1].detach(),
            center=centers[0].mean.clone(), center_grid=centers[1].mean.clone(),
            grad_cls=student[0].grad, grad_region=student[1].grad,
        )  # fmt: skip
        for name, value in values.items():
            found.setdefault(name, []).append(value)
        if call == 0:
            blocks = pairs.unflatten(2, (2, -1)).split(sizes, dim=1)
            golden.check("match_global", blocks[1][:, :, 0].argmax(-1).flatten())
            golden.check("match_local", blocks[-1][:, :, 1].argmax(-1).flatten())
    for name, parts in found.items():
        golden.check(name, torch.stack(parts))


@pytest.mark.parametrize("fused", [True, False])
def test_values_dino_alone(fused: bool) -> None:
    golden = Golden("esvit", "dino_loss")
    center = Center(48)
    found: dict[str, list[Tensor]] = dict(loss=[], grad=[], center=[])
    for call, temperature in enumerate([0.04, 0.04, 0.055, 0.07]):
        student = (0.3 * image(f"dino_loss/{call}/s", (18, 48))).requires_grad_()
        teacher = 0.3 * image(f"dino_loss/{call}/t", (6, 48))
        rows = [per_image(student, [1] * 6, 3), per_image(teacher, [1] * 2, 3)]
        loss = loss_of_logits(*rows, center.mean, pair_weights([1] * 6), temperature, fused)
        loss.backward()
        center.update(teacher.mean(0))
        values = dict(loss=loss.detach(), grad=student.grad, center=center.mean.clone())
        for name, value in values.items():
            found[name].append(value)
    for name, parts in found.items():
        golden.check(name, torch.stack(parts))


def test_values_dino_with_mixed_views() -> None:
    golden = Golden("esvit", "dino_loss_mixup")
    center = Center(24)
    mixing = torch.stack(
        [(2 * image(f"dino_loss_mixup/target{v}", (4, 4))).softmax(-1) for v in range(3)]
        + [torch.eye(4)] * 2
    )
    found: dict[str, list[Tensor]] = dict(loss=[], grad=[])
    for call, temperature in enumerate([0.04, 0.07, 0.07]):
        student = (0.3 * image(f"dino_loss_mixup/{call}/s", (20, 24))).requires_grad_()
        teacher = 0.3 * image(f"dino_loss_mixup/{call}/t", (8, 24))
        targets = ((teacher - center.mean) / temperature).softmax(-1)
        loss = mixed_distillation(
            per_image(student, [1] * 5, 4),
            per_image(targets, [1] * 2, 4),
            pair_weights([1] * 5),
            mixing,
        )
        loss.backward()
        center.update(teacher.mean(0))
        found["loss"].append(loss.detach())
        found["grad"].append(student.grad)
    for name, parts in found.items():
        golden.check(name, torch.stack(parts))
    golden.check("center", center.mean)
