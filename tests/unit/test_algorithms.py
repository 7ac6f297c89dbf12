"""Properties that hold for every method, and those of BYOL and CARE in particular."""

from __future__ import annotations

import copy
import math
import pickle
from pathlib import Path

import pytest
import torch

from mmssl.models.layers import MLP
from mmssl.structures import Progress
from tests.helpers.tiny import (
    ANY_VIEWS,
    FROZEN,
    MULTI_CROP,
    NO_TWIN,
    ONE_VIEW,
    THREE_VIEWS,
    TINY,
    TinyBackbone,
    own_views,
    sgd,
    tiny_byol,
    tiny_care,
    tiny_model,
    tiny_stack,
    tiny_views,
    total_loss,
    train_step,
)

KEYS = Path(__file__).parents[1] / "data" / "state_dict_keys"
rows = pytest.mark.parametrize("name", TINY)


def gradients(model, loss) -> dict[str, torch.Tensor]:
    """Non-zero gradients by parameter name."""
    model.zero_grad()
    loss.backward(retain_graph=True)
    return {
        name: parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().max() > 0
    }


@rows
def test_values_finite_for_three_steps_and_gradients_where_they_belong(name):
    model = tiny_model(name)
    optimizer = sgd(model)
    assert all(math.isfinite(train_step(model, optimizer, step)) for step in range(3))
    with_gradient = {n for n, p in model.named_parameters() if p.grad is not None}
    online = {n for n, _ in model.named_parameters() if not n.startswith("twin.")}
    assert with_gradient == online - FROZEN.get(name, set())
    assert model.twin is None or not any(p.requires_grad for p in model.twin.parameters())


@rows
def test_state_saved_at_step_two_and_resumed_is_bit_equal(name):
    model = tiny_model(name)
    optimizer = sgd(model)
    for step in range(2):
        train_step(model, optimizer, step)
    saved = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    for step in range(2, 4):
        train_step(model, optimizer, step)

    resumed = tiny_model(name, seed=1)
    other = sgd(resumed)
    resumed.load_state_dict(saved[0])
    other.load_state_dict(saved[1])
    for step in range(2, 4):
        train_step(resumed, other, step)
    for key, value in model.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


@rows
def test_state_copies_and_pickles_give_the_same_loss(name):
    model = tiny_model(name)
    torch.manual_seed(0)
    expected = total_loss(copy.deepcopy(model)(own_views(model), mode="loss"))
    loaded = pickle.loads(pickle.dumps(model))
    torch.manual_seed(0)
    assert torch.equal(total_loss(loaded(own_views(model), mode="loss")), expected)


@rows
def test_state_dict_keys_are_the_recorded_ones(name):
    recorded = (KEYS / f"{name}.txt").read_text().split()
    assert list(tiny_model(name).state_dict()) == recorded


@pytest.mark.parametrize("name", [name for name in TINY if name not in NO_TWIN])
def test_state_twin_starts_as_a_copy(name):
    model = tiny_model(name)
    online = model.state_dict()
    for key, value in model.twin.state_dict().items():
        if key != "num_updates":
            assert torch.equal(value, online[key]), key


@rows
def test_values_only_losses_are_called_loss(name):
    model = tiny_model(name)
    losses = model(own_views(model), mode="loss")
    for key, value in losses.items():
        assert value.requires_grad == ("loss" in key), key
    # random unit vectors of 8 dimensions have a standard deviation near 1 / sqrt(8) per dimension
    assert 0.05 < losses["embedding_std"] < 0.5


@rows
def test_equivalence_bfloat16_autocast_is_close(name):
    model = tiny_model(name)
    views = own_views(model, size=6)
    torch.manual_seed(0)
    exact = total_loss(copy.deepcopy(model)(views, mode="loss"))
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        losses = model(views, mode="loss")
    assert all(value.dtype == torch.float32 for value in losses.values())
    total_loss(losses).backward()
    # bfloat16 has 8 bits; batch statistics of small maps enlarge its rounding
    assert total_loss(losses).item() == pytest.approx(exact.item(), rel=0.1)


@rows
def test_raises_on_wrong_use(name):
    model = tiny_model(name)
    if name in MULTI_CROP:
        with pytest.raises(ValueError, match="at least 2 views"):
            model(tiny_views(num=1), mode="loss")
    elif name in ANY_VIEWS:
        with pytest.raises(ValueError, match="at least one view"):
            model(tiny_views(num=0), mode="loss")
    elif name in THREE_VIEWS:
        with pytest.raises(ValueError, match=THREE_VIEWS[name]):
            model(tiny_views(num=2), mode="loss")
    else:
        number = "one view" if name in ONE_VIEW else "exactly two views"
        with pytest.raises(ValueError, match=number):
            model(tiny_views(num=3), mode="loss")
    heads = [child for child in model.children() if isinstance(child, MLP)]
    norms = any(isinstance(layer, torch.nn.BatchNorm1d) for mlp in heads for layer in mlp.layers)
    # of SwAV and DeepCluster-v2 it sees both views together, and a queue or clusters are of other images
    if norms and name not in ("deepcluster_v2", "swav_queue"):
        with pytest.raises(ValueError, match="batch of one image"):
            model(tiny_views(size=1), mode="loss")
    model.progress = None
    with pytest.raises(RuntimeError, match="progress"):
        model(tiny_views(), mode="loss")


@rows
def test_shapes_features_at_any_size(name):
    model = tiny_model(name).eval()
    maps = model(torch.zeros(1, 3, 48, 80), mode="tensor")
    assert maps[-1].shape == (1, 16, 3, 5)


def test_values_byol_loss_by_hand():
    model = tiny_model("byol")
    views = tiny_views()
    expected = copy.deepcopy(model)

    def unit(x):
        return x / x.norm(dim=1, keepdim=True)

    v1, v2 = views.images
    p1 = unit(expected.head(expected.neck(expected.backbone(v1)[0].mean((2, 3)))))
    p2 = unit(expected.head(expected.neck(expected.backbone(v2)[0].mean((2, 3)))))
    z1 = unit(expected.twin.neck(expected.twin.backbone(v1)[0].mean((2, 3))))
    z2 = unit(expected.twin.neck(expected.twin.backbone(v2)[0].mean((2, 3))))
    by_hand = ((p1 - z2) ** 2).sum(1).mean() + ((p2 - z1) ** 2).sum(1).mean()
    assert model(views, mode="loss")["loss"].item() == pytest.approx(by_hand.item(), rel=1e-5)


@pytest.mark.parametrize("method", [tiny_byol, tiny_care])
def test_state_statistics_follow_the_order_of_the_four_passes(method):
    """Online v1, v2; twin v2, v1; each pass with statistics of its own view."""
    model = method().train()
    model.progress = Progress(0, 10, 0, 1)
    views = tiny_views()
    expected = {}
    for branch, order in (("backbone", (0, 1)), ("twin.backbone", (1, 0))):
        backbone = copy.deepcopy(model.get_submodule(branch))
        for view in order:
            backbone(views.images[view])
        expected[branch] = backbone.stages[3][1]
    model(views, mode="loss")
    for branch, norm in expected.items():
        actual = model.get_submodule(branch).stages[3][1]
        assert actual.num_batches_tracked == 2
        torch.testing.assert_close(actual.running_mean, norm.running_mean)
    assert not torch.allclose(
        expected["backbone"].running_mean, expected["twin.backbone"].running_mean
    )


def test_values_care_moves_only_what_each_loss_may_move():
    model = tiny_model("care")
    losses = model(tiny_views(), mode="loss")
    c = ("backbone.stages.3", "projector_c", "predictor_c")
    t = ("t_stream", "projector_t", "predictor_t")
    for part in ("loss_c", "loss_att"):
        moved = gradients(model, losses[part])
        assert not any(name.startswith(t) for name in moved), part
        assert all(any(name.startswith(prefix) for name in moved) for prefix in c), part
    moved = gradients(model, losses["loss_t"])
    assert not any(name.startswith(c) for name in moved)
    assert any(name.startswith("backbone.stages.2") for name in moved)


def test_values_care_switches():
    views = tiny_views()

    def losses(**options):
        torch.manual_seed(0)
        model = tiny_care(**options).train()
        model.progress = Progress(0, 10, 0, 1)
        return model, model(views, mode="loss")

    plain = losses()[1]
    detached, out = losses(detach_t_input=True)
    assert not any(n.startswith("backbone") for n in gradients(detached, out["loss_t"]))
    attached, out = losses(detach_target=False)
    assert any(n.startswith("t_stream") for n in gradients(attached, out["loss_att"]))
    doubled = losses(lambda_att=200.0)[1]
    assert doubled["loss_att"].item() == pytest.approx(2 * plain["loss_att"].item(), rel=1e-5)
    sample = losses(att_reduction="sample")[1]
    assert sample["loss_att"].item() == pytest.approx(8 * plain["loss_att"].item(), rel=1e-5)
    silent_model, silent = losses(log_teacher_att=False)
    assert silent["loss_att"] < plain["loss_att"]
    model, logged = losses()
    a, b = gradients(model, logged["loss_att"]), gradients(silent_model, silent["loss_att"])
    for name in a:
        torch.testing.assert_close(a[name], b[name])
    weighted = losses(loss_weight_c=0.5, loss_weight_t=3.0)[1]
    assert weighted["loss_c"].item() == pytest.approx(plain["loss_c"].item() / 2, rel=1e-5)
    assert weighted["loss_t"].item() == pytest.approx(plain["loss_t"].item() * 3, rel=1e-5)


def test_equivalence_c_stream_alone_is_care_without_the_other_losses():
    """Without the T-stream the C-stream computes the same loss from the same weights."""
    care = tiny_model("care")
    alone = tiny_care(t_stream=None).train()
    missing = alone.load_state_dict(care.state_dict(), strict=False)
    assert not missing.missing_keys
    assert all("_t." in key or "t_stream." in key for key in missing.unexpected_keys)
    alone.progress = care.progress
    views = tiny_views()
    full, part = care(views, mode="loss"), alone(views, mode="loss")
    assert torch.equal(full["loss_c"], part["loss_c"])
    assert set(part) == {"loss_c", "similarity_c", "embedding_std"}


def test_shapes_t_stream_follows_the_backbone():
    model = tiny_care(
        backbone=TinyBackbone((1, 2, 3)), t_stream=tiny_stack(in_stage=1, fmap_size=(8, 4))
    )
    assert (model.t_stream.in_channels, model.t_stream.out_channels) == (4, 16)
    model.progress = Progress(0, 10, 0, 1)
    views = tiny_views()
    views = views._replace(images=[image[..., :16] for image in views.images])
    assert math.isfinite(total_loss(model.train()(views, mode="loss")).item())
    with pytest.raises(ValueError, match="returns stages"):
        tiny_care(backbone=TinyBackbone((3,)))


def test_equivalence_compiled_backend_of_eager_graphs():
    """The loss has no graph break: it is compiled as one graph."""
    model = tiny_model("care")
    views = tiny_views()
    expected = copy.deepcopy(model)(views, mode="loss")
    compiled = torch.compile(model.loss, backend="eager", fullgraph=True)(views)
    for name, value in expected.items():
        torch.testing.assert_close(compiled[name], value)
