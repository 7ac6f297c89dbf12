"""DINO heads and the losses of DINO and EsViT against the official code."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmssl.losses import distillation, match_regions, match_views, pair_weights
from mmssl.models.heads import DINOHead
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


@pytest.mark.parametrize("implementation", ["fused", "reference"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", LOSSES)
def test_values_views_and_regions(case: str, dtype: torch.dtype, implementation: str) -> None:
    """Losses, gradients, matches and both centres over several calls in a row."""
    golden = Golden("esvit", case)
    shapes = {name: shape for name, shape in golden.entry["inputs"] if shape}
    num_images, num_views = golden.entry["batch"], golden.entry["views"]
    regions = golden.entry["regions"]
    sizes = [regions["global_view"]] * 2 + [regions["local_view"]] * (num_views - 2)
    counts = [num_images * size for size in sizes]
    centers = [torch.zeros(1, shapes["t_cls"][1], dtype=dtype) for _ in range(2)]
    found: dict[str, list[Tensor]] = {}
    for call, temperature in enumerate(LOSSES[case]):
        data = {
            name: image(f"{case}/{call}/{name}", shape).to(dtype) for name, shape in shapes.items()
        }
        student = [(0.3 * data[name]).requires_grad_() for name in ("s_cls", "s_region")]
        teacher = [0.3 * data[name] for name in ("t_cls", "t_region")]
        probabilities = [
            ((logits - center) / temperature).softmax(1)
            for logits, center in zip(teacher, centers, strict=True)
        ]
        features = [
            [part.unflatten(0, (num_images, -1)) for part in data[name].split(counts[:number])]
            for name, number in (("s_fea", num_views), ("t_fea", 2))
        ]
        matches = match_regions(*features)
        options = dict(implementation=implementation, chunk_rows=7)
        view = distillation(
            student[0], probabilities[0], match_views(num_views, num_images),
            pair_weights([(num_images, 1)] * num_views), **options,
        )  # fmt: skip
        region = distillation(
            student[1], probabilities[1], matches,
            pair_weights([(num_images, size) for size in sizes]), **options,
        )  # fmt: skip
        loss = 0.5 * view + 0.5 * region
        loss.backward()
        centers = [
            0.9 * center + 0.1 * logits.mean(0, keepdim=True)
            for center, logits in zip(centers, teacher, strict=True)
        ]
        values = dict(
            loss=loss.detach(), view=view.detach(), region=region.detach(), center=centers[0],
            center_grid=centers[1], grad_cls=student[0].grad, grad_region=student[1].grad,
        )  # fmt: skip
        for name, value in values.items():
            found.setdefault(name, []).append(value)
        if call == 0:
            rows = [part % sizes[0] for part in matches.split(counts)]
            golden.check("match_global", rows[1][:, 0])
            golden.check("match_local", rows[-1][:, 1])
    for name, parts in found.items():
        golden.check(name, torch.stack(parts))


def test_values_dino_alone() -> None:
    golden = Golden("esvit", "dino_loss")
    center = torch.zeros(1, 48)
    found: dict[str, list[Tensor]] = dict(loss=[], grad=[], center=[])
    for call, temperature in enumerate([0.04, 0.04, 0.055, 0.07]):
        student = (0.3 * image(f"dino_loss/{call}/s", (18, 48))).requires_grad_()
        teacher = 0.3 * image(f"dino_loss/{call}/t", (6, 48))
        targets = ((teacher - center) / temperature).softmax(1)
        loss = distillation(student, targets, match_views(6, 3), pair_weights([(3, 1)] * 6))
        loss.backward()
        center = 0.9 * center + 0.1 * teacher.mean(0, keepdim=True)
        for name, value in dict(loss=loss.detach(), grad=student.grad, center=center).items():
            found[name].append(value)
    for name, parts in found.items():
        golden.check(name, torch.stack(parts))
