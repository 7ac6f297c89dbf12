"""DeepCluster-v2: its loss in NumPy, its memory, and runs in which a hook clusters it."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from torch.nn import functional as F

from mmssl.engine.hooks import MemoryClusterHook
from mmssl.engine.runner import Runner
from mmssl.losses import assignment_cross_entropy
from mmssl.models.memories import EpochMemory
from mmssl.ops.spherical_kmeans import SphericalKMeans
from mmssl.registry import HOOKS, MODELS
from tests.helpers.memory_runs import memory_config, memory_hook, run_memory
from tests.helpers.tiny import (
    sgd,
    tiny_clusters,
    tiny_deepcluster_v2,
    tiny_model,
    tiny_views,
    train_step,
)
from tests.helpers.toy import ToyBackbone


def cross_entropy(scores: np.ndarray, clusters: np.ndarray) -> float:
    """Mean over views (V, B, K) and images with a cluster."""
    rows = [
        np.log(np.exp(view[b]).sum()) - view[b, clusters[b]]
        for view in scores
        for b in range(len(clusters))
        if clusters[b] >= 0
    ]
    return float(np.mean(rows))


def test_values_of_the_loss_in_numpy() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(3, 5, 4, generator=generator, dtype=torch.float64)
    clusters = torch.tensor([1, 3, -100, 0, 3])
    found = assignment_cross_entropy(scores, clusters, temperature=0.1)
    expected = cross_entropy(scores.numpy() / 0.1, clusters.numpy())
    assert found.item() == pytest.approx(expected, rel=1e-10)


def test_gradcheck() -> None:
    scores = torch.rand(2, 3, 4, dtype=torch.float64, requires_grad=True)
    clusters = torch.tensor([1, -100, 0])
    assert torch.autograd.gradcheck(
        lambda s: assignment_cross_entropy(s, clusters, temperature=0.5), scores
    )


def test_values_no_cluster_at_all_is_no_loss() -> None:
    scores = torch.rand(2, 3, 4, requires_grad=True)
    loss = assignment_cross_entropy(scores, torch.full((3,), -100), temperature=0.1)
    loss.backward()
    assert loss.item() == 0 and not scores.grad.any()


def test_values_of_a_step_by_hand() -> None:
    """Mean over three heads and all four crops; then the first two are what the memory holds."""
    model = tiny_model("deepcluster_v2")
    small = tiny_views(1, pixels=16).images
    views = tiny_views(0)
    views = views._replace(images=views.images + small, index=torch.tensor([3, 0, 11, 7]))
    with torch.no_grad():
        large = model.backbone(torch.cat(views.images[:2]))[0].mean((2, 3))
        little = model.backbone(torch.cat(small))[0].mean((2, 3))
        embeds = F.normalize(model.neck(torch.cat([large, little])), dim=1)
    model.memory.assignment[1, 11] = -100
    parts = []
    for number, head in zip((5, 4, 5), model.heads, strict=True):
        clusters = views.index.numpy() % number
        if number == 4:
            clusters[2] = -100
        products = embeds.double() @ head.prototypes.weight.double().T
        parts.append(cross_entropy(products.view(4, 4, -1).numpy() / 0.1, clusters))
    found = model(views, mode="loss")
    assert found["loss"].item() == pytest.approx(np.mean(parts), rel=1e-5)
    memory = model.memory
    assert memory.present.nonzero().flatten().tolist() == [0, 3, 7, 11]
    for bank in range(2):
        torch.testing.assert_close(memory.bank(bank)[views.index], embeds[4 * bank :][:4])


def test_state_centroids_are_never_trained() -> None:
    model = tiny_model("deepcluster_v2")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.5)
    before = [head.prototypes.weight.clone() for head in model.heads]
    train_step(model, optimizer, 0)
    assert all(
        torch.equal(head.prototypes.weight, old)
        for head, old in zip(model.heads, before, strict=True)
    )


def test_raises_of_the_method() -> None:
    with pytest.raises(ValueError, match="as many images as prototypes"):
        tiny_deepcluster_v2(num_samples=4)
    with pytest.raises(ValueError, match="one head or more"):
        tiny_deepcluster_v2(num_prototypes=())
    model = tiny_model("deepcluster_v2")
    unknown = tiny_views()._replace(index=torch.full((4,), -1))
    with pytest.raises(ValueError, match=r"holds the images -1..-1.*ViewBatch.index"):
        model(unknown, mode="loss")
    with pytest.raises(ValueError, match=r"12 training images, but .* 2..12"):
        model(tiny_views()._replace(index=torch.tensor([2, 3, 12, 4])), mode="loss")
    with pytest.raises(ValueError, match="holds the images -1..-1"):
        model.remember(unknown)
    model = tiny_deepcluster_v2(clustered=False)
    model.progress = tiny_model("swav").progress
    with pytest.raises(RuntimeError, match="MemoryClusterHook"):
        model(tiny_views(), mode="loss")


def test_state_of_the_memory() -> None:
    """Twice the same image: its last rows. Rows wait for a new epoch once they were clustered."""
    memory = EpochMemory(6, 3, num_banks=2, num_heads=1)
    assert memory.is_empty() and not memory.is_ready and not len(memory.embeds)
    rows = torch.arange(18.0).view(2, 3, 3)
    memory.write(torch.tensor([4, 1, 4]), rows)
    assert memory.present.tolist() == [False, True, False, False, True, False]
    assert torch.equal(memory.bank(1)[4], rows[1, 2]) and torch.equal(memory.bank(0)[1], rows[0, 1])
    broken = rows.clone()
    broken[1, 0, 2] = torch.nan  # of a batch whose step will be skipped
    memory.write(torch.tensor([2, 0, 1]), broken)
    assert memory.present.tolist() == [True, True, False, False, True, False]
    memory.load([tiny_clusters(2, dim=3, images=6)], epoch=3)
    assert memory.is_empty() and memory.assigned(torch.tensor([5, 0])).tolist() == [[1, 0]]
    memory.write(torch.tensor([0]), rows[:, :1])
    copy = EpochMemory(6, 3, num_banks=2, num_heads=1)
    copy.load_state_dict(memory.state_dict())
    assert copy.fits and int(copy.epoch) == 3
    for key, value in memory.state_dict().items():
        assert torch.equal(copy.state_dict()[key], value), key
    other = EpochMemory(7, 3, num_banks=2, num_heads=1)
    other.load_state_dict(memory.state_dict())
    assert not other.fits
    other.clear()
    assert other.fits and not len(other.embeds)
    with pytest.raises(
        RuntimeError, match=r"embeds: \(2, 3\) per image in the file, \(2, 4\) here"
    ):
        EpochMemory(6, 4, num_banks=2, num_heads=1).load_state_dict(memory.state_dict())


@MODELS.register_module()
class DroppingBackbone(ToyBackbone):
    """Draws random numbers in train mode."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(F.dropout(x, 0.3, self.training) for x in super().forward(images))


@HOOKS.register_module()
class SeeMemoryHook(Hook):
    """Keeps what the memory and the heads are before an epoch is clustered, and what they are then."""

    priority = "NORMAL"
    seen: list[dict] = []

    def after_train_epoch(self, runner) -> None:
        memory = runner.model.memory
        self.seen.append(dict(embeds=memory.embeds.clone(), present=memory.present.clone()))

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if batch_idx == 0:
            model = runner.model
            weights = [head.prototypes.weight.clone() for head in model.heads]
            self.seen.append(dict(assignment=model.memory.assignment.clone(), weights=weights))


def test_values_of_a_run(tmp_path) -> None:
    """Heads take the banks in turn; what an epoch left out has no cluster in the next."""
    SeeMemoryHook.seen = []
    run = run_memory(tmp_path, others=(dict(type="SeeMemoryHook"),))
    first, *later = SeeMemoryHook.seen
    # the pass before the first epoch leaves one out as well, but another
    assert [int((heads < 0).sum()) for heads in first["assignment"]] == [1, 1, 1]
    assert len(later) == 5
    for epoch, (memory, clusters) in enumerate(zip(later[::2], later[1::2], strict=False), 1):
        absent = (~memory["present"]).nonzero().flatten()
        assert len(absent) == 1 and (clusters["assignment"][:, absent] == -100).all()
        for head, (number, bank) in enumerate(((5, 0), (7, 1), (5, 0))):
            seed = np.random.SeedSequence((run.seed, epoch, head)).generate_state(1)[0]
            found = SphericalKMeans().fit(
                memory["embeds"][:, bank], memory["present"], number, seed=int(seed)
            )
            assert torch.equal(clusters["assignment"][head], found.assignment)
            assert torch.equal(clusters["weights"][head], found.centroids)
    history = memory_hook(run).history
    assert [entry["epoch"] for entry in history] == [0, 1, 2]
    assert "cluster/nmi_l0" not in history[0] and 0 <= history[2]["cluster/nmi_l2"] <= 1
    assert history[1]["cluster/used_l1"] <= 7 and 0 < history[1]["cluster/cosine_l0"] <= 1
    assert history[0]["cluster/seconds_fill"] > history[1]["cluster/seconds_fill"]


def test_state_the_filling_pass_changes_no_random_number(tmp_path) -> None:
    """A run whose memory was filled by hand trains on the same views in the same order."""
    whole = run_memory(tmp_path / "a", **{"train_cfg.max_epochs": 1})
    runner = Runner.from_cfg(memory_config(tmp_path / "b", **{"train_cfg.max_epochs": 1}))
    hook = memory_hook(runner)
    fill, states = hook._fill, []

    def filled(*args) -> None:
        torch.rand(5)
        fill(*args)
        states.append(runner.model.memory.embeds.clone())

    hook._fill = filled
    runner.train()
    assert len(states) == 1
    for key, value in whole.model.state_dict().items():
        assert torch.equal(runner.model.state_dict()[key], value), key


def test_state_embedded_anew_before_every_epoch_and_resumed(tmp_path) -> None:
    """Clusters are of the network as it is, dropout included, whether the run was interrupted or not."""
    options = {
        "custom_hooks": [dict(type="MemoryClusterHook", embed_anew=True)],
        "model.backbone.type": "DroppingBackbone",
    }
    straight = run_memory(tmp_path / "a", **options)
    (tmp_path / "b").mkdir()
    shutil.copy(tmp_path / "a" / "epoch_2.pth", tmp_path / "b")
    resumed = run_memory(tmp_path / "b", resume=True, **options)
    for key, value in straight.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[key], value), key
    plain = run_memory(
        tmp_path / "c", **(options | {"custom_hooks": [dict(type="MemoryClusterHook")]})
    )
    assert not torch.equal(plain.model.memory.assignment, straight.model.memory.assignment)


def test_state_a_new_run_forgets_and_another_set_is_refused(tmp_path) -> None:
    run_memory(tmp_path / "a")
    more = {
        "train_dataloader.dataset.length": 27,
        "model.num_samples": 27,
        "load_from": str(tmp_path / "a" / "epoch_1.pth"),
    }
    loaded = run_memory(tmp_path / "b", **more)
    assert loaded.model.memory.assignment.shape == (3, 27)
    with pytest.raises(ValueError, match="of 25 images, the training set has 27"):
        run_memory(tmp_path / "c", resume=True, **more)


@HOOKS.register_module()
class BreakFillHook(Hook):
    """Stands for SIGTERM while the memory is filled."""

    def before_train(self, runner) -> None:
        def broken(views) -> None:
            runner.model.memory.write(views.index, torch.ones(2, len(views.index), 6))
            raise KeyboardInterrupt

        runner.model.remember = broken


def test_raises_of_the_hook(tmp_path) -> None:
    with pytest.raises(TypeError, match="ToyMethod has none"):
        run_memory(tmp_path / "a", model=dict(type="ToyMethod", _delete_=True))
    with pytest.raises(ValueError, match="iterations >= 1"):
        MemoryClusterHook(0)
    with pytest.raises(ValueError, match=r"Set model.num_samples|num_samples=25|is 26"):
        run_memory(tmp_path / "b", **{"model.num_samples": 26})
    few = {"model.num_prototypes": (25,)}
    with pytest.raises(ValueError, match="25 clusters need at least as many embeddings, got 24"):
        run_memory(tmp_path / "c", **few)
    runner = Runner.from_cfg(memory_config(tmp_path / "d", others=(dict(type="BreakFillHook"),)))
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    assert runner.model.memory.is_empty()


def test_values_it_learns_what_it_was_told() -> None:
    """The loss of fixed clusters falls, that is, gradients reach the backbone the right way round."""
    model = tiny_model("deepcluster_v2")
    optimizer = sgd(model)
    views = tiny_views()
    losses = []
    for _ in range(12):
        loss = model(views, mode="loss")["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
