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

from mmssl.datasets import ImageFolder
from mmssl.engine.hooks import ClusterHook
from mmssl.engine.runner import Runner
from mmssl.evaluation import embeddings, evaluation_loader, features
from mmssl.evaluation.cluster_figures import cluster_figures
from mmssl.evaluation.embeddings import embed_images
from mmssl.models.algorithms import HCSC
from mmssl.ops.cluster_levels import cluster_flat, cluster_tree
from mmssl.ops.kmeans import KMeans
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
    runner.train_loop._iter = 7
    with pytest.raises(ValueError, match=r"are of 23 images, the training set has 24"):
        hook.before_train(runner)


@pytest.mark.parametrize(
    "options", [dict(begin_epoch=-1), dict(interval=0), dict(features="student")]
)
def test_raises_on_options(options):
    with pytest.raises(ValueError, match="ClusterHook takes begin_epoch >= 0"):
        ClusterHook(VIEWS, **options)


def test_raises_on_parts():
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
