"""PIC as a method: crops, labels, BatchNorm, and the hook that steps its rows."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmssl.engine.hooks import InstanceRowsHook
from mmssl.models.algorithms import PIC
from mmssl.structures import Progress, ViewBatch
from tests.helpers.given import Given, Same
from tests.helpers.tiny import TinyBackbone, tiny_pic, tiny_views


def crops(*sizes: int, size: int = 4) -> ViewBatch:
    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(size, 3, pixels, pixels, generator=generator) for pixels in sizes]
    return ViewBatch(images, torch.tensor([7, 0, 11, 3])[:size], [], torch.full((size,), -1), [])


def ready(model: PIC) -> PIC:
    model.progress = Progress(0, 10, 0, 1)
    return model.train()


def test_values_loss_by_hand():
    """Each crop has a pass of its own; labels are crop-major; small crops see constant rows."""
    model = ready(tiny_pic())
    views = crops(32, 16, 16)
    twin = copy.deepcopy(model)
    features = [F.normalize(twin.neck(twin.backbone(v)[-1].mean((2, 3)))) for v in views.images]
    rows = F.normalize(twin.head.weight)
    logits = torch.cat([features[0] @ rows.T] + [f @ rows.detach().T for f in features[1:]]) / 0.2
    own = torch.tensor([7, 0, 11, 3] * 3)
    expected = F.cross_entropy(logits, own)
    found = model(views, mode="loss")
    assert found["loss"].item() == pytest.approx(expected.item(), rel=1e-6)
    assert found["accuracy"].item() == pytest.approx((logits.argmax(1) == own).float().mean())
    expected.backward()
    found["loss"].backward()
    for mine, theirs in zip(model.parameters(), twin.parameters()):
        torch.testing.assert_close(mine.grad, theirs.grad)


@pytest.mark.parametrize("sizes", [(32,), (32, 16, 16, 16), (32, 32, 24)])
def test_state_every_crop_updates_the_statistics_once(sizes):
    model = ready(tiny_pic())
    model(crops(*sizes), mode="loss")
    assert model.backbone.stages[0][1].num_batches_tracked == len(sizes)


def test_values_rows_see_the_large_crops_only():
    """Their gradient does not change with the pixels of the small ones; the network's does."""
    slopes = []
    for pixels in (0.0, 1.0):
        torch.manual_seed(0)
        model = ready(tiny_pic())
        views = crops(32, 16)
        views.images[1].add_(pixels * torch.randn(views.images[1].shape))
        model(views, mode="loss")["loss"].backward()
        slopes.append((model.head.weight.grad, model.neck.layers[0].weight.grad))
    assert torch.equal(slopes[0][0], slopes[1][0])
    assert not torch.allclose(slopes[0][1], slopes[1][1])


def test_values_large_crops_by_size_or_by_number():
    views = crops(32, 32, 16)
    both = ready(tiny_pic(init_std=1.0))
    state = both.state_dict()

    def slope(num_large: int | None) -> torch.Tensor:
        model = ready(PIC(TinyBackbone((3,)), copy.deepcopy(both.neck), tiny_pic().head))
        model.load_state_dict(state)
        model.num_large = num_large
        model(views, mode="loss")["loss"].backward()
        return model.head.weight.grad

    assert torch.equal(slope(None), slope(2))
    assert not torch.allclose(slope(1), slope(2))


def test_raises_on_views_that_do_not_fit():
    model = ready(tiny_pic())
    for sizes in ((16, 32), (16, 16, 24)):
        with pytest.raises(ValueError, match="large crops first, got views of"):
            model(crops(*sizes), mode="loss")
    model.num_large = 2
    with pytest.raises(ValueError, match="its 2 large crops first"):
        model(crops(32), mode="loss")
    with pytest.raises(ValueError, match="at least one large crop"):
        PIC(
            TinyBackbone((3,)),
            dict(type="MLPNeck", out_channels=8),
            dict(num_instances=3),
            num_large=0,
        )
    with pytest.raises(
        ValueError, match="embeddings of 8 numbers, but the rows of the head have 9"
    ):
        tiny_pic(in_channels=9)


def test_values_one_layer_and_rows_for_every_image():
    model = PIC(
        TinyBackbone((3,)),
        dict(type="MLPNeck", out_channels=8, num_layers=1),
        dict(num_instances=5),
    )
    assert model.num_samples == 5 and len(model.neck.layers) == 1
    assert (model.head.temperature, model.head.weight.std() < 0.02) == (0.2, True)


def stand_in(model: nn.Module, optimizer, **wrapper) -> SimpleNamespace:
    """What the hook needs of a runner."""
    options = dict(optimizer=optimizer, clip_grad_kwargs=None, should_update=lambda: True)
    return SimpleNamespace(
        iter=0, model=model, optim_wrapper=SimpleNamespace(**(options | wrapper))
    )


def hooked(**wrapper) -> tuple[PIC, torch.optim.SGD, InstanceRowsHook, SimpleNamespace]:
    torch.manual_seed(0)
    model = ready(PIC(Given(6), Same(6), dict(num_instances=12, num_negatives=4)))
    model.backbone.weight = nn.Parameter(torch.ones(1, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.8, weight_decay=0.1)
    hook, runner = InstanceRowsHook(), stand_in(model, optimizer, **wrapper)
    hook.before_train(runner)
    return model, optimizer, hook, runner


def backward(model: PIC, scale: float = 1.0) -> None:
    loss = model(crops(1)._replace(images=[torch.randn(4, 6, 2, 2)]), mode="loss")["loss"]
    (scale * loss + 0 * model.backbone.weight.sum()).backward()


def test_state_rows_step_with_the_optimizer_and_its_settings():
    model, optimizer, hook, runner = hooked()
    rows = model.head.rows
    backward(model)
    optimizer.param_groups[0]["lr"] = 0.25
    before, slope = rows.weight.clone(), rows._leaf.grad.clone()
    optimizer.step()
    velocity = slope + 0.1 * before
    torch.testing.assert_close(rows.momentum, velocity)
    torch.testing.assert_close(rows.weight, before - 0.25 * velocity)
    assert (rows.num_steps, rows.settings) == (1, (0.25, 0.8, 0.1))
    hook.after_train_iter(runner, 0)
    assert rows.recent.known.tolist() == [7, 0, 11, 3]
    hook.after_train(runner)
    backward(model)
    optimizer.step()
    assert rows.num_steps == 1, "the optimizer is left as it was"


def test_state_a_step_that_was_skipped_skips_the_rows():
    """No call of the optimizer: the gradient goes, the recent list stays as it was."""
    model, optimizer, hook, runner = hooked()
    backward(model)
    optimizer.step()
    hook.after_train_iter(runner, 0)
    rows = model.head.rows
    weight, momentum = (part.clone() for part in rows.all_rows())
    backward(model)
    hook.after_train_iter(runner, 1)
    assert rows.num_steps == 1 and len(rows.gradient) == 0 and len(rows.batch) == 0
    for mine, theirs in zip(rows.all_rows(), (weight, momentum)):
        assert torch.equal(mine, theirs)


def test_state_gradients_wait_while_batches_are_accumulated():
    model, optimizer, hook, runner = hooked(should_update=lambda: False)
    backward(model)
    first = model.head.rows._leaf.grad.clone()
    hook.after_train_iter(runner, 0)
    assert torch.equal(model.head.rows.gradient, first)
    backward(model)
    second = model.head.rows._leaf.grad.clone()
    model.head.rows.keep_gradient()
    torch.testing.assert_close(model.head.rows.gradient, first + second)


def test_state_a_scaled_loss_does_not_scale_the_rows():
    """The scaler of float16: its scale is divided out, and what it skips is skipped."""
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    plain, optimizer, _, _ = hooked()
    scaled, other, hook, runner = hooked(loss_scaler=scaler)
    torch.manual_seed(1)
    backward(plain)
    optimizer.step()
    torch.manual_seed(1)
    loss = scaled(crops(1)._replace(images=[torch.randn(4, 6, 2, 2)]), mode="loss")["loss"]
    scaler.scale(loss + 0 * scaled.backbone.weight.sum()).backward()
    scaler.step(other)
    hook.after_train_iter(runner, 0)
    scaler.update()
    assert torch.equal(scaled.head.rows.weight, plain.head.rows.weight)

    other.zero_grad()
    backward(scaled, scale=256.0)
    scaled.backbone.weight.grad.fill_(float("inf"))
    before = scaled.head.rows.weight.clone()
    scaler.step(other)
    hook.after_train_iter(runner, 1)
    scaler.update()
    assert scaler.get_scale() == 128.0
    assert torch.equal(scaled.head.rows.weight, before) and scaled.head.rows.num_steps == 1


def test_values_settings_are_those_of_the_backbones_weights():
    model = ready(PIC(TinyBackbone((3,)), Same(16), dict(num_instances=12, num_negatives=4)))
    weights = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.SGD(
        [dict(params=others, weight_decay=0.0), dict(params=weights, lr=0.3)],
        lr=0.1,
        momentum=0.9,
        weight_decay=0.2,
    )
    InstanceRowsHook().before_train(stand_in(model, optimizer))
    model(crops(32), mode="loss")["loss"].backward()
    optimizer.step()
    assert model.head.rows.settings == (0.3, 0.9, 0.2)


def test_raises_on_optimizers_whose_idle_steps_are_not_known():
    model = ready(tiny_pic(num_negatives=4))
    parameters = list(model.parameters())
    optimizers = [
        torch.optim.AdamW(parameters),
        torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True),
        torch.optim.SGD(parameters, lr=0.1, momentum=0.9, dampening=0.1),
        torch.optim.SGD(list(model.neck.parameters()), lr=0.1),
    ]
    for optimizer in optimizers:
        with pytest.raises(ValueError, match="follow torch's SGD"):
            InstanceRowsHook().before_train(stand_in(model, optimizer))
    plain = tiny_pic()
    InstanceRowsHook().before_train(stand_in(plain, torch.optim.AdamW(plain.parameters())))
    with pytest.raises(ValueError, match="no InstanceClassifier"):
        InstanceRowsHook().before_train(stand_in(TinyBackbone(), optimizers[0]))


def test_state_views_of_any_number_share_the_target():
    """tiny_views: two crops of one size are two large ones."""
    model = ready(tiny_pic())
    assert model._count_large(tiny_views().images) == 2


def test_raises_on_fused_steps_under_a_loss_scale():
    """torch tells of a fused step that was skipped as of one that was made."""
    model = ready(PIC(TinyBackbone((3,)), Same(16), dict(num_instances=12, num_negatives=4)))
    fused = torch.optim.SGD(model.parameters(), lr=0.1, fused=True)
    scaler = torch.amp.GradScaler("cpu")
    with pytest.raises(ValueError, match="Leave out fused"):
        InstanceRowsHook().before_train(stand_in(model, fused, loss_scaler=scaler))
    InstanceRowsHook().before_train(stand_in(model, fused))
