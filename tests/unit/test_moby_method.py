"""What MoBY does beyond the properties of every method."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F

from mmssl.models.backbones import Swin
from mmssl.structures import Progress
from tests.helpers.tiny import sgd, tiny_moby, tiny_model, tiny_views, train_step


def unit(x):
    return x / x.norm(dim=1, keepdim=True)


def test_values_loss_by_hand():
    model = tiny_model("moby")
    views = tiny_views()
    expected = copy.deepcopy(model)

    def embed(net, image):
        return net.neck(net.backbone(image)[0].mean((2, 3)))

    v1, v2 = views.images
    q1, q2 = (unit(expected.head(embed(expected, view))) for view in (v1, v2))
    k1, k2 = (unit(embed(expected.twin, view)) for view in (v1, v2))
    loss = 0
    for q, k, queue in ((q1, k2, expected.queues[1]), (q2, k1, expected.queues[0])):
        logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.features.T], dim=1)
        loss = loss - F.log_softmax(logits / 0.2, dim=1)[:, 0].mean()
    out = model(views, mode="loss")
    assert out["loss"].item() == pytest.approx(loss.item(), rel=1e-5)
    cosines = torch.cat([(q1 * k2).sum(1), (q2 * k1).sum(1)])
    assert out["similarity"].item() == pytest.approx(cosines.mean().item(), rel=1e-4)
    # the keys of the first views are in the first queue, those of the second in the second
    for queue, keys in zip(model.queues, (k1, k2), strict=True):
        torch.testing.assert_close(queue.features[:4], keys)
        assert int(queue.pointer) == 4


def test_state_queues_wrap_with_a_batch_that_does_not_divide_them():
    model = tiny_model("moby")
    optimizer = sgd(model)
    for step in range(4):
        train_step(model, optimizer, step)
    for queue in model.queues:
        assert int(queue.pointer) == 16 % 10
        torch.testing.assert_close(queue.features.norm(dim=1), torch.ones(10))
    assert not torch.equal(model.queues[0].features, model.queues[1].features)


def test_state_statistics_follow_the_order_of_the_four_passes():
    """Online v1, v2; twin v1, v2; each pass with statistics of its own view."""
    model = tiny_model("moby")
    views = tiny_views()
    expected = copy.deepcopy(model)
    for branch in (expected.backbone, expected.twin.backbone):
        for image in views.images:
            branch(image)
    model(views, mode="loss")
    for name in ("backbone", "twin.backbone"):
        actual, norm = (one.get_submodule(name).stages[3][1] for one in (model, expected))
        assert actual.num_batches_tracked == 2
        torch.testing.assert_close(actual.running_mean, norm.running_mean)


def test_values_swin_drops_paths_online_only():
    """Same images in both views: the twin's keys are equal, the online queries are not."""
    torch.manual_seed(0)
    swin = Swin(
        8, depths=(1, 2), num_heads=(1, 2), window_size=4, pretrain_img_size=32,
        drop_path_rate=0.9, out_indices=(1,),
    )  # fmt: skip
    model = tiny_moby(backbone=swin).train()
    model.init_weights()
    model.progress = Progress(0, 10, 0, 1)
    image = tiny_views().images[0]
    twin = [model.project(model.twin, image) for _ in range(2)]
    assert torch.equal(*twin)
    online = [model.project(model, image) for _ in range(2)]
    assert not torch.allclose(*online)


def test_equivalence_compiled_backend_of_eager_graphs():
    """The loss has no graph break: it is compiled as one graph, queues included."""
    model = tiny_model("moby")
    views = tiny_views()
    eager = copy.deepcopy(model)
    expected = eager(views, mode="loss")
    compiled = torch.compile(model.loss, backend="eager", fullgraph=True)(views)
    for name, value in expected.items():
        torch.testing.assert_close(compiled[name], value)
    torch.testing.assert_close(model.queues[0].features, eager.queues[0].features)
    assert int(model.queues[0].pointer) == 4
