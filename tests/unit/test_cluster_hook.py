"""ClusterHook: what it hands over, when, what it leaves alone and what it refuses."""

from __future__ import annotations

import logging
import random

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from PIL import Image
from torch.nn import functional as F
from torch.utils.data import Dataset

from mmssl.datasets import CachedViews, ImageFolder
from mmssl.engine.hooks import ClusterHook
from mmssl.engine.hooks import cluster_hook as cluster_hook_module
from mmssl.engine.runner import Runner
from mmssl.evaluation import cluster_figures as figures_module
from mmssl.evaluation import embeddings, evaluation_loader, features
from mmssl.evaluation.cluster_figures import cluster_figures
from mmssl.evaluation.embeddings import embed_images
from mmssl.models.algorithms import HCSC
from mmssl.ops.cluster_levels import cluster_flat, cluster_tree
from mmssl.ops.feature_store import FeatureStore
from mmssl.ops.kmeans import KMeans
from mmssl.ops.partition import partition_scores
from mmssl.registry import DATASETS, HOOKS
from mmssl.structures import Clustering
from tests.helpers.clustered import VIEWS, cluster_hook, clustered_config, run_clustered
from tests.helpers.runs import toy_config
from tests.helpers.tiny import TinyBackbone, tiny_clustering
from tests.helpers.toy import ToyImages


@HOOKS.register_module()
class ProbeHook(Hook):
    """Makes the prototypes of each epoch by hand, and notes what a clustering may not change."""

    priority = "VERY_LOW"  # behind ClusterHook

    def before_train_epoch(self, runner) -> None:
        model = runner.model
        data = runner.train_dataloader.dataset.with_views(VIEWS, seed=0)
        pictures = torch.stack([data[0, index]["inputs"].images[0] for index in range(len(data))])
        batch = (pictures.float() - model.data_preprocessor.mean) / model.data_preprocessor.std
        with torch.no_grad():
            features = model.twin.neck(model.twin.backbone(batch)[0].mean(dim=(2, 3)))
        cluster = cluster_tree if model.prototypes.tree else cluster_flat
        expected = cluster(
            F.normalize(features, dim=1),
            model.prototypes.num_clusters,
            clusterer=KMeans(),
            temperature=0.2,
        )
        runner.message_hub.update_info("expected", expected)


@pytest.mark.parametrize("method", ["HCSC", "PCL"])
def test_values_of_prototypes(tmp_path, method):
    run = run_clustered(
        tmp_path, method, others=[dict(type="ProbeHook")], **{"train_cfg.max_epochs": 2}
    )
    expected, found = run.message_hub.get_info("expected"), run.model.prototypes.clustering()
    assert torch.equal(found.assignment, expected.assignment)
    for name in ("centroids", "density", "parents"):
        for mine, theirs in zip(getattr(found, name), getattr(expected, name), strict=True):
            torch.testing.assert_close(mine, theirs)
    figures = cluster_hook(run).history[0]
    assert figures["cluster/objective_l1"] == pytest.approx(expected.objective[1], rel=1e-5)
    assert figures["cluster/unreadable"] == 0
    assert figures["cluster/images_per_second"] > 0


@pytest.mark.parametrize(
    ("begin", "interval", "epochs"),
    [(0, 1, [0, 1, 2, 3]), (1, 2, [1, 3]), (2, 5, [2]), (3, 1, [3])],
)
def test_values_of_epochs_with_a_clustering(tmp_path, begin, interval, epochs):
    run = run_clustered(tmp_path, hook=dict(begin_epoch=begin, interval=interval))
    assert [entry["epoch"] for entry in cluster_hook(run).history] == epochs
    assert int(run.model.prototypes.epoch) == epochs[-1]


def test_values_of_online_features(tmp_path):
    """With a twin that never moves the two differ; the online ones are the network's of now."""
    options = {"train_cfg.max_epochs": 2, "model.momentum": 1.0}
    runs = [
        run_clustered(tmp_path / kind, hook=dict(features=kind), **options)
        for kind in ("twin", "online")
    ]
    centroids = [run.model.prototypes.levels[0].centroids for run in runs]
    assert not torch.allclose(*centroids)


def random_states() -> list:
    return [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]


def test_state_of_modes_statistics_and_random_numbers(tmp_path):
    """BatchNorm in the model: neither statistics nor modes move, and no number is drawn."""
    config = clustered_config(tmp_path, **{"train_cfg.max_epochs": 1})
    runner = Runner.from_cfg(config)
    model = HCSC(
        TinyBackbone((3,)), dict(type="MLPNeck", hid_channels=8, out_channels=8),
        dict(type="Prototypes", num_clusters=[6, 3]), queue_length=20,
    )  # fmt: skip
    runner.model = model
    model.train()
    model.backbone.stages[0].eval()  # a frozen stage stays one
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    hook = cluster_hook(runner)
    hook.begin_epoch = 0
    hook.before_train(runner)
    names = ("backbone", "neck", "twin")
    before = {
        name: {k: v.clone() for k, v in getattr(model, name).state_dict().items()} for name in names
    }
    modes = {name: child.training for name, child in model.named_modules()}
    states = random_states()
    hook.before_train_epoch(runner)
    assert model.prototypes.is_ready
    assert random_states() == states
    assert {name: child.training for name, child in model.named_modules()} == modes
    for name in names:
        for key, value in getattr(model, name).state_dict().items():
            assert torch.equal(value, before[name][key]), key


@pytest.fixture
def folder(tmp_path):
    """Ten images, the fourth of which is none."""
    random = np.random.default_rng(0)
    path = tmp_path / "images"
    path.mkdir()
    for index in range(10):
        pixels = random.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path / f"{index}.png")
    (path / "3.png").write_bytes(b"no image")
    return path


def tiny_hcsc():
    torch.manual_seed(0)
    return HCSC(
        TinyBackbone((3,)), dict(type="MLPNeck", hid_channels=8, out_channels=8),
        dict(type="Prototypes", num_clusters=[4, 2]), queue_length=20,
    )  # fmt: skip


def embedded(model, dataset, *, batch_size=4, world_size=1, rank=0):
    count = len(range(rank, len(dataset), world_size))
    rows, polls = torch.full((count, 8), float("nan")), []
    loader = evaluation_loader(dataset, batch_size=batch_size)
    replaced = embed_images(model, loader, rows, branch="twin", poll=lambda: polls.append(None))
    return rows, replaced, len(polls)


def test_values_of_unreadable_images(folder):
    """An embedding at the position that was asked for: that of the image shown there."""
    dataset = ImageFolder(str(folder), VIEWS, seed=0, max_bad_ratio=0.5)
    model = tiny_hcsc()
    rows, replaced, _ = embedded(model, dataset)
    shown = int(dataset[3]["inputs"].index)
    assert replaced == 1
    assert shown != 3
    assert torch.equal(rows[3], rows[shown])
    assert len(rows.unique(dim=0)) == 9
    assert rows.norm(dim=1).allclose(torch.ones(10))


def test_equivalence_of_shares(folder, monkeypatch):
    """Each rank has every third image, once; all ask as often whether to leave."""
    dataset = ImageFolder(str(folder), VIEWS, seed=0, max_bad_ratio=0.5)
    model = tiny_hcsc()
    whole, _, _ = embedded(model, dataset)
    monkeypatch.setattr(embeddings, "broadcast_buffers", lambda module: None)
    for module in (features, embeddings):
        monkeypatch.setattr(module, "world_size", lambda: 3)
    polls = set()
    for rank in range(3):
        for module in (features, embeddings):
            monkeypatch.setattr(module, "rank", lambda rank=rank: rank)
        rows, replaced, asked = embedded(model, dataset, batch_size=3, world_size=3, rank=rank)
        torch.testing.assert_close(rows, whole[rank::3])
        assert replaced == (rank == 0)  # the image at position 3
        polls.add(asked)
    assert polls == {2}


def test_values_of_figures():
    tree = Clustering(
        [torch.eye(4), torch.eye(4)[:2]],
        [torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([0.2, 0.2])],
        [torch.tensor([0, 0, 0, 1])],
        torch.tensor([[0, 0, 0, 1, 1, 2]], dtype=torch.int32),
        [3.0, 0.5],
    )
    found = cluster_figures(tree, None)
    finest = dict(
        used=3, single=1, members_min=1, members_median=2, members_max=3,
        phi_min=0.1, phi_median=0.25, phi_max=0.4, objective=3.0,
    )  # fmt: skip
    above = dict(
        used=1, single=1, members_min=1, members_median=2, members_max=3,
        phi_min=0.2, phi_median=0.2, phi_max=0.2, objective=0.5,
    )  # fmt: skip
    expected = {
        f"{key}_l{i}": v for i, level in enumerate((finest, above)) for key, v in level.items()
    }
    assert found == pytest.approx(expected)
    renamed = tree._replace(assignment=torch.tensor([[2, 2, 2, 3, 3, 0]], dtype=torch.int32))
    assert cluster_figures(renamed, tree)["nmi_l0"] == pytest.approx(1.0)
    assert cluster_figures(renamed, tree)["nmi_l1"] < 0.5
    flat = tiny_clustering((4, 3), tree=False)
    assert cluster_figures(flat, flat)["members_max_l1"] == 4


@pytest.mark.parametrize("tree", [True, False])
def test_values_of_agreement_on_every_level(tree):
    """What is made of the table of the level below is what the images of the level say."""
    before = tiny_clustering((9, 5, 2), tree=tree, images=60)
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randint(9 if tree else 2, before.assignment.shape, generator=generator)
    now = before._replace(
        assignment=drawn.int(), parents=[parents.flip(0) for parents in before.parents]
    )
    found = cluster_figures(now, before)
    for level in range(3):
        expected = partition_scores(before.on_level(level), now.on_level(level)).nmi
        assert found[f"nmi_l{level}"] == pytest.approx(expected, abs=1e-12)
        assert found[f"used_l{level}"] == len(now.on_level(level).unique())


def test_values_of_figures_are_those_of_the_first_rank(monkeypatch):
    """No other rank counts."""
    sent = []

    def gather(item):
        sent.append(item)
        return [dict(used_l0=3.0), item]

    monkeypatch.setattr(figures_module, "rank", lambda: 1)
    monkeypatch.setattr(figures_module, "gather_objects", gather)
    monkeypatch.setattr(figures_module, "contingency", None)
    clustering = tiny_clustering((4, 3))
    assert cluster_figures(clustering, clustering) == dict(used_l0=3.0)
    assert sent == [None]


def started(tmp_path, **options):
    """The hook of a run whose `before_train` was called."""
    runner = Runner.from_cfg(clustered_config(tmp_path, **options))
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    cluster_hook(runner).before_train(runner)
    return runner


def test_raises_for_too_few_images(tmp_path):
    small = {"train_dataloader.dataset.length": 6, "train_dataloader.batch_size": 2}
    with pytest.raises(ValueError, match=r"6 images cannot be grouped into 6 prototypes"):
        started(tmp_path, **small)


def test_raises_for_a_model_without_prototypes(tmp_path):
    config = toy_config(tmp_path, custom_hooks=[dict(type="ClusterHook", views=VIEWS)])
    with pytest.raises(TypeError, match="prototypes of a model, but ToyMethod has none"):
        Runner.from_cfg(config).train()


@DATASETS.register_module()
class Twice(Dataset):
    """Images that come again at other positions."""

    metainfo: dict = {}

    def __init__(self, length: int) -> None:
        self.images = ToyImages(length)

    def __len__(self) -> int:
        return 2 * len(self.images)


def test_raises_for_a_data_set_that_repeats_others(tmp_path):
    wrapped = dict(type="Twice", length=24, _delete_=True)
    with pytest.raises(TypeError, match=r"`with_views`.*Twice has none"):
        started(tmp_path, **{"train_dataloader.dataset": wrapped})


def test_raises_for_a_loop_without_epochs(tmp_path):
    loop = dict(type="IterBasedTrainLoop", max_iters=3, _delete_=True)
    with pytest.raises(TypeError, match="train loop does not count them"):
        started(tmp_path, train_cfg=loop)


def test_raises_for_prototypes_of_other_images(tmp_path):
    runner = Runner.from_cfg(clustered_config(tmp_path))
    runner.model.load_prototypes(tiny_clustering((6, 3), images=23), epoch=1)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    hook = cluster_hook(runner)
    hook.before_train(runner)
    assert (
        not runner.model.prototypes.is_ready
    )  # a new run: those of the loaded weights are dropped
    runner.model.load_prototypes(tiny_clustering((6, 3), images=23), epoch=1)
    runner.train_loop._iter, runner.train_loop._epoch = 7, 1
    with pytest.raises(ValueError, match=r"are of 23 images, the training set has 24"):
        hook.before_train(runner)


def resumed_with(tmp_path, clustering, *, hook=None, **changes):
    """`before_train` of a run that goes on at iteration 7 with prototypes that were made by hand."""
    config = clustered_config(tmp_path, hook=hook, log_level="INFO", **changes)
    runner = Runner.from_cfg(config)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.model.load_prototypes(clustering, epoch=1)
    runner.train_loop._iter, runner.train_loop._epoch = 7, 1
    cluster_hook(runner).before_train(runner)
    return runner


@pytest.mark.parametrize(("counts", "least"), [((5, 3), None), ((6, 4), None), ((7, 3), 1)])
def test_raises_for_another_number_of_prototypes(tmp_path, counts, least):
    """The config now asks for 6 and 3."""
    changes = {"model.prototypes.min_members": least}
    with pytest.raises(
        ValueError, match=rf"are \[{counts[0]}, {counts[1]}\], finest first, but .* is"
    ):
        resumed_with(tmp_path, tiny_clustering(counts, images=24), **changes)


@pytest.mark.parametrize(("counts", "least"), [((6, 3), None), ((5, 3), 1)])
def test_state_prototypes_of_a_resumed_run_stay(tmp_path, counts, least):
    """Dissolved ones may be missing."""
    changes = {"model.prototypes.min_members": least}
    runner = resumed_with(tmp_path, tiny_clustering(counts, images=24), **changes)
    assert runner.model.prototypes.is_ready


def test_state_prototypes_in_a_longer_warm_up_are_dropped(tmp_path):
    """Resumed with a later `begin_epoch`: the epochs before it are MoCo, whatever the checkpoint has."""
    clustering = tiny_clustering((6, 3), images=24)
    assert resumed_with(tmp_path / "a", clustering).model.prototypes.is_ready
    runner = resumed_with(tmp_path / "b", clustering, hook=dict(begin_epoch=2))
    assert not runner.model.prototypes.is_ready


@pytest.mark.parametrize("method", ["HCSC", "PCL"])
def test_raises_without_a_hook_that_makes_prototypes(tmp_path, method):
    config = clustered_config(tmp_path, method)
    config.custom_hooks = []
    with pytest.raises(RuntimeError, match=rf"{method} learns from prototypes, but no hook"):
        Runner.from_cfg(config).train()


@HOOKS.register_module()
class OwnPrototypesHook(Hook):
    """A third party's way to make prototypes."""

    fills_prototypes = True

    def before_train_epoch(self, runner) -> None:
        clustering = tiny_clustering((6, 3), images=24)
        runner.model.load_prototypes(clustering, epoch=runner.epoch)


def test_state_with_a_hook_of_a_third_party(tmp_path):
    config = clustered_config(tmp_path, **{"train_cfg.max_epochs": 1})
    config.custom_hooks = [dict(type="OwnPrototypesHook")]
    runner = Runner.from_cfg(config)
    runner.train()
    assert "train/loss_proto_l0" in runner.message_hub.log_scalars


def test_values_of_embeddings_in_half_precision(tmp_path, monkeypatch):
    """As `store_dtype` says; the prototypes are those of the rounded embeddings."""
    kept = []

    class Noted(FeatureStore):
        def close(self):
            kept.append(self.rows.clone())
            super().close()

    monkeypatch.setattr(cluster_hook_module, "FeatureStore", Noted)
    options = {"train_cfg.max_epochs": 2}
    run = run_clustered(tmp_path, hook=dict(store_dtype="float16"), **options)
    (rows,) = kept
    assert rows.dtype == torch.float16
    expected = cluster_tree(rows.float(), [6, 3], clusterer=KMeans(), temperature=0.2)
    for level, centroids in zip(run.model.prototypes.levels, expected.centroids, strict=True):
        assert torch.equal(level.centroids, centroids)


def test_state_embeddings_are_made_repeatably(folder):
    """What training has set for speed does not count, and counts again afterwards."""
    dataset = ImageFolder(str(folder), VIEWS, seed=0, max_bad_ratio=0.5)
    model, cudnn, seen = tiny_hcsc(), torch.backends.cudnn, []
    before = cudnn.benchmark
    cudnn.benchmark = True
    model.twin.backbone.register_forward_hook(
        lambda *_: seen.append((cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32))
    )
    try:
        embedded(model, dataset, batch_size=10)
        assert cudnn.benchmark
    finally:
        cudnn.benchmark = before
    assert seen == [(False, True, False)]


def test_values_of_the_cache_in_memory(tmp_path, monkeypatch):
    """The room is asked for the images of all ranks of the machine."""
    asked = []

    class Noted(CachedViews):
        def __init__(self, dataset, cache, *, views, num_local):
            asked.append(num_local)
            super().__init__(dataset, cache, views=views, num_local=num_local)

    monkeypatch.setattr(cluster_hook_module, "CachedViews", Noted)
    monkeypatch.setattr(cluster_hook_module, "world_size", lambda: 5)
    monkeypatch.setattr(cluster_hook_module, "ranks_on_this_machine", lambda: 2)
    started(tmp_path, hook=dict(cache="memory"))
    assert asked == [10]


@pytest.mark.parametrize(
    "options", [dict(begin_epoch=-1), dict(interval=0), dict(features="student")]
)
def test_raises_on_options(options):
    with pytest.raises(ValueError, match="ClusterHook takes begin_epoch >= 0"):
        ClusterHook(VIEWS, **options)


def test_raises_on_parts():
    with pytest.raises(ValueError, match="store_dtype float32 or float16, got 'int8'"):
        ClusterHook(VIEWS, store_dtype="int8")
    with pytest.raises(ValueError, match="config of its views"):
        ClusterHook(None, cache="memory")
    with pytest.raises(KeyError, match="Unknown clusterer 'KMedians'"):
        ClusterHook(VIEWS, clusterer=dict(type="KMedians"))


def test_values_warns_of_a_warm_up_without_end(tmp_path, caplog):
    runner = Runner.from_cfg(clustered_config(tmp_path, hook=dict(begin_epoch=4)))
    runner.logger.addHandler(caplog.handler)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    cluster_hook(runner).before_train(runner)
    texts = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert any("begin_epoch is 4 and the run has 4 epochs" in text for text in texts)


def test_values_of_the_sentence(tmp_path, caplog):
    runner = Runner.from_cfg(
        clustered_config(tmp_path, log_level="INFO", **{"train_cfg.max_epochs": 3})
    )
    runner.logger.addHandler(caplog.handler)
    runner.train()
    said = [r.message for r in caplog.records if r.message.startswith("Clustered before epoch")]
    used = int(cluster_hook(runner).history[1]["cluster/used_l0"])
    assert said[1].startswith("Clustered before epoch 3: embeddings ")
    assert f"level 0: {used} prototypes with images" in said[1]
    assert "NMI with the last" in said[1]
    assert "NMI" not in said[0]
