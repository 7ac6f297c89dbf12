"""DenseCL: what its loss is made of, its neck, and its queues."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmssl.models.algorithms import densecl as densecl_module
from mmssl.models.algorithms.densecl import cell_pairs
from mmssl.models.necks import DenseCLNeck
from mmssl.ops.schedules import Switched, build_schedule
from mmssl.structures import Progress
from tests.helpers.tiny import tiny_densecl, tiny_model, tiny_views


def cross_entropy(own: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    logits = torch.cat([own.reshape(1), others]) / 0.2
    return torch.logsumexp(logits, 0) - logits[0]


def test_values_loss_by_hand() -> None:
    """Pixel by pixel: pooled view, matched cells, both queues, then what goes into them."""
    model = tiny_model("densecl")
    expected, views = copy.deepcopy(model), tiny_views()
    losses = model(views, mode="loss")
    first, second = (
        net.backbone(images)[0]
        for net, images in zip((expected, expected.twin), views.images, strict=True)
    )
    net, twin = expected.neck, expected.twin.neck
    of_views, of_cells, mean_cells = [], [], []
    for a, b in zip(first, second, strict=True):
        q, k = (
            F.normalize(n.mlp(m.mean((1, 2))[None])[0], dim=0) for n, m in ((net, a), (twin, b))
        )
        of_views.append(cross_entropy(q @ k, expected.queue.features @ q))
        projected_q, projected_k = (n.cell_mlp(m[None])[0] for n, m in ((net, a), (twin, b)))
        mean_cells.append(F.normalize(projected_k.mean((1, 2)), dim=0))
        for row in range(2):
            for column in range(2):
                cosines = {
                    (i, j): F.cosine_similarity(a[:, row, column], b[:, i, j], dim=0).item()
                    for i in range(2)
                    for j in range(2)
                }
                i, j = max(cosines, key=cosines.__getitem__)
                q = F.normalize(projected_q[:, row, column], dim=0)
                k = F.normalize(projected_k[:, i, j], dim=0)
                of_cells.append(cross_entropy(q @ k, expected.dense_queue.features @ q))
    assert losses["loss_view"].item() == pytest.approx(
        torch.stack(of_views).mean().item() / 2, rel=1e-5
    )
    assert losses["loss_dense"].item() == pytest.approx(
        torch.stack(of_cells).mean().item() / 2, rel=1e-5
    )
    assert len(of_cells) == 16
    torch.testing.assert_close(model.dense_queue.features[:4], torch.stack(mean_cells))
    assert torch.equal(model.dense_queue.features[4:], expected.dense_queue.features[4:])
    assert not torch.allclose(model.queue.features[:4], expected.queue.features[:4])
    assert torch.equal(model.queue.features[4:], expected.queue.features[4:])


def test_values_weight_follows_its_schedule() -> None:
    """Without dense loss first, as the released code's hook; the parts add up to the same mixture."""
    views = tiny_views()
    found = []
    for weight, step in (
        (0.0, 0),
        (0.5, 0),
        (dict(type="Switched", before=0.0, after=0.75, at=6), 5),
    ):
        torch.manual_seed(0)
        model = tiny_densecl(dense_weight=weight).train()
        model.progress = Progress(step, 10, 0, 1)
        found.append(model(views, mode="loss"))
    model.progress = Progress(6, 10, 0, 1)
    assert found[0]["loss_dense"].item() == found[2]["loss_dense"].item() == 0
    assert found[0]["loss_view"].item() == pytest.approx(2 * found[1]["loss_view"].item(), rel=1e-6)
    assert found[1]["loss_dense"].item() > 0
    assert model(views, mode="loss")["loss_dense"].item() > 0
    schedule = build_schedule(dict(type="Switched", before=0.1, after=0.9, at=3))
    assert schedule == Switched(0.1, 0.9, at=3)
    assert [schedule(step, 5) for step in range(5)] == [0.1, 0.1, 0.1, 0.9, 0.9]


def test_values_only_the_projector_of_its_own_part_learns() -> None:
    for weight, silent in ((0.0, "neck.cell_mlp"), (1.0, "neck.mlp")):
        model = tiny_densecl(dense_weight=weight).train()
        model.progress = Progress(0, 10, 0, 1)
        losses = model(tiny_views(), mode="loss")
        (losses["loss_view"] + losses["loss_dense"]).backward()
        for name, parameter in model.named_parameters():
            if name.startswith(("neck", "backbone")):
                assert (parameter.grad.abs().max() > 0) == (not name.startswith(silent)), name


def test_values_grid_pools_what_is_projected_and_what_is_matched(monkeypatch) -> None:
    """A 4x4 map on a 2x2 grid; the view's embedding still sees the whole map."""
    neck = DenseCLNeck(6, 8, 5, num_grid=2)
    maps = torch.randn(3, 6, 4, 4)
    found = neck(maps)
    pooled = maps.view(3, 6, 2, 2, 2, 2).mean((3, 5))
    torch.testing.assert_close(found.features, pooled.flatten(2))
    torch.testing.assert_close(found.cells, neck.cell_mlp(pooled).flatten(2))
    torch.testing.assert_close(found.mean_cell, found.cells.mean(2))
    torch.testing.assert_close(found.view, neck.mlp(maps.mean((2, 3))))
    seen = []
    best_cells = densecl_module.best_cells
    monkeypatch.setattr(
        densecl_module, "best_cells", lambda *maps: seen.append(maps) or best_cells(*maps)
    )
    model = tiny_densecl(neck=dict(hid_channels=8, out_channels=8, num_grid=3)).train()
    model.progress = Progress(0, 10, 0, 1)
    losses = model(tiny_views(), mode="loss")
    assert [part.shape for part in seen[0]] == [(4, 16, 9)] * 2
    assert torch.stack(list(losses.values())).isfinite().all()


def test_values_chunks_do_not_change_the_loss() -> None:
    found = []
    for max_logits in (1, 2**24):
        torch.manual_seed(0)
        model = tiny_densecl(max_logits=max_logits).train()
        model.progress = Progress(0, 10, 0, 1)
        found.append(model(tiny_views(), mode="loss")["loss_dense"].item())
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_values_pairs_of_cells_are_rows_image_by_image() -> None:
    queries, keys = torch.arange(12.0).view(2, 2, 3), -torch.arange(16.0).view(2, 2, 4)
    match = torch.tensor([[3, 0, 0], [1, 1, 2]])
    q, k = cell_pairs(queries, keys, match)
    assert q.tolist() == [[0, 3], [1, 4], [2, 5], [6, 9], [7, 10], [8, 11]]
    assert k.tolist() == [[-3, -7], [0, -4], [0, -4], [-9, -13], [-9, -13], [-10, -14]]


def test_state_projectors_start_as_in_the_released_code() -> None:
    torch.manual_seed(0)
    neck = DenseCLNeck(512, 512, 128)
    for layer in (neck.mlp.layers[0], neck.mlp.layers[2]):
        assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / 512), rel=0.02)
        assert not layer.bias.any()
    for layer in (neck.cell_mlp[0], neck.cell_mlp[2]):
        # uniform between +-1 / sqrt(fan-in)
        assert layer.weight.abs().max().item() == pytest.approx(1 / math.sqrt(512), rel=0.01)
        assert layer.weight.std().item() == pytest.approx(1 / math.sqrt(3 * 512), rel=0.02)
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in neck.modules())


def test_raises_for_a_grid_without_cells() -> None:
    with pytest.raises(ValueError, match="at least 1, or None, got 0"):
        DenseCLNeck(4, num_grid=0)
