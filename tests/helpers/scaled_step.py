"""One optimizer step of a tiny model in half precision with a GradScaler, as `--amp fp16` takes it."""

from __future__ import annotations

import torch
from torch import Tensor

from mmssl.models.algorithms import BaseAlgorithm
from mmssl.structures import ViewBatch
from tests.helpers.tiny import own_views, sgd, tiny_model, total_loss

SCALE = 65536.0
"""torch's first scale, and mmengine's."""


def views_on(device: str, model: BaseAlgorithm) -> ViewBatch:
    """Views of six images on a device, as many as the model takes."""
    views = own_views(model, size=6)
    return views._replace(
        images=[image.to(device) for image in views.images],
        boxes=[box.to(device) for box in views.boxes],
        index=views.index.to(device),
    )


def gradient(model: BaseAlgorithm) -> Tensor:
    """That of all online parameters in a row, on the CPU."""
    return torch.cat([p.grad.flatten().cpu() for p in model.parameters() if p.requires_grad])


def plain_step(
    name: str, device: str, *, scale: float = 1.0, half: bool = False
) -> tuple[Tensor, Tensor]:
    """Loss and gradient of a step, the loss scaled by hand in the backward pass."""
    model = tiny_model(name).to(device)
    with torch.autocast(device, torch.float16, enabled=half):
        loss = total_loss(model(views_on(device, model), mode="loss"))
    (loss * scale).backward()
    return loss.detach().cpu(), gradient(model)


def scaled_step(name: str, device: str) -> tuple[Tensor, Tensor]:
    """Loss and unscaled gradient of the first step that the scaler lets the optimizer take.

    Gradients of so few images and cells may be too large for the first scale: half precision ends at 65504.
    The scaler leaves such a step out and halves the scale.
    """
    scaler = torch.amp.GradScaler(device, init_scale=SCALE)
    for _ in range(6):
        model, scale = tiny_model(name).to(device), scaler.get_scale()
        optimizer = sgd(model)
        before = [p.detach().clone() for p in model.parameters()]
        with torch.autocast(device, torch.float16):
            loss = total_loss(model(views_on(device, model), mode="loss"))
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        moved = any(not torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))
        assert moved is (scaler.get_scale() == scale)
        if moved:
            return loss.detach().cpu(), gradient(model)
    raise AssertionError(f"The gradients of {name} are infinite at a scale of {scale}.")
