"""Runs with prototypes: interrupted anywhere, they end as those that were not, bit by bit."""

from __future__ import annotations

import multiprocessing
import os
import signal

import pytest
import torch

from mmssl.engine.hooks import Preempted, latest_checkpoint
from mmssl.evaluation import embeddings
from mmssl.ops.cluster_sums import ExactSums
from mmssl.ops.kmeans import KMeans
from tests.helpers.clustered import (
    assert_same,
    cluster_hook,
    figures_without_seconds,
    run_clustered,
)
from tests.helpers.killed import Killed
from tests.helpers.toy import ToyImages

pytestmark = pytest.mark.integration

EVERY_THIRD = dict(type="CheckpointHook", interval=3, by_epoch=False)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The uninterrupted run of a method with options of its hook; each is run once."""
    runs = {}

    def run(method="HCSC", **hook):
        key = (method, *sorted(hook.items()))
        if key not in runs:
            folder = tmp_path_factory.mktemp("straight")
            runs[key] = run_clustered(folder, method, hook=hook)
        return runs[key]

    return run


@pytest.mark.parametrize("method", ["HCSC", "PCL"])
@pytest.mark.parametrize("at", [4, 7, 11])
def test_state_resumed_inside_an_epoch(tmp_path, straight, method, at):
    """From iteration 3 (warm-up), 6 and 9 (inside epochs with prototypes) of 4 per epoch."""
    saved = {"default_hooks.checkpoint": EVERY_THIRD}
    with pytest.raises(Killed):
        run_clustered(tmp_path, method, others=[dict(type="KillHook", at=at)], **saved)
    resumed = run_clustered(tmp_path, method, resume=True, **saved)
    assert resumed.iter == 16
    assert_same(straight(method), resumed)


@pytest.mark.parametrize("interval", [1, 2])
@pytest.mark.parametrize("at", [4, 8, 13])
def test_state_resumed_at_the_beginning_of_an_epoch(tmp_path, straight, at, interval):
    """Epochs 1, 2 and 3: clustered anew where it is due, the older prototypes where it is not."""
    hook = dict(interval=interval)
    with pytest.raises(Killed):
        run_clustered(tmp_path, hook=hook, others=[dict(type="KillHook", at=at)])
    resumed = run_clustered(tmp_path, hook=hook, resume=True)
    assert_same(straight(interval=interval), resumed)
    assert [entry["epoch"] for entry in cluster_hook(resumed).history] == [1, 2, 3][::interval]


def broken(monkeypatch, action, *, call):
    """Let `action` happen inside of the k-means of a run, the `call`-th level of all."""
    fit, calls = KMeans.fit, []

    def breaking(self, *args, **kwargs):
        calls.append(args)
        if len(calls) == call:
            action()
        return fit(self, *args, **kwargs)

    monkeypatch.setattr(KMeans, "fit", breaking)


def killed():
    raise Killed


def terminated():
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("call", [1, 4])
def test_state_killed_in_the_middle_of_clustering(tmp_path, straight, monkeypatch, call):
    """Before the first prototypes; and between the levels of the second clustering."""
    with monkeypatch.context() as patch:
        broken(patch, killed, call=call)
        with pytest.raises(Killed):
            run_clustered(tmp_path)
    assert_same(straight(), run_clustered(tmp_path, resume=True))


def die(folder, iteration):
    """In a process of its own: SIGKILL behind an iteration of k-means, counted over all clusterings."""
    torch.set_num_threads(1)
    finish, done = ExactSums.finish, []

    def last(self):
        done.append(self)
        if len(done) == iteration:
            os.kill(os.getpid(), signal.SIGKILL)
        return finish(self)

    ExactSums.finish = last
    run_clustered(folder)


@pytest.mark.parametrize("iteration", [2, 60])
def test_state_after_sigkill_in_k_means(tmp_path, straight, iteration):
    """In the first and in the second clustering, which has old prototypes."""
    process = multiprocessing.get_context("spawn").Process(target=die, args=(tmp_path, iteration))
    process.start()
    process.join(240)
    assert process.exitcode == -signal.SIGKILL
    assert latest_checkpoint(tmp_path).name == f"epoch_{1 if iteration == 2 else 2}.pth"
    assert_same(straight(), run_clustered(tmp_path, resume=True))


@pytest.mark.parametrize("call", [1, 4])
def test_state_ended_by_sigterm_in_k_means(tmp_path, straight, monkeypatch, call):
    """It is left at once, although checkpoints are written every 100 iterations only."""
    saved = {"default_hooks.checkpoint": dict(type="CheckpointHook", interval=100, by_epoch=False)}
    with monkeypatch.context() as patch:
        broken(patch, terminated, call=call)
        with pytest.raises(Preempted):
            run_clustered(tmp_path, **saved)
    assert latest_checkpoint(tmp_path).name == f"iter_{4 if call == 1 else 8}.pth"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert_same(straight(), run_clustered(tmp_path, resume=True, **saved))


def test_state_ended_by_sigterm_between_batches(tmp_path, straight, monkeypatch):
    """While the images are embedded; here as on several ranks, where all ask."""
    frozen = embeddings.frozen

    def after(module):
        terminated()
        return frozen(module)

    with monkeypatch.context() as patch:
        patch.setattr(embeddings, "frozen", after)
        patch.setattr("mmssl.engine.hooks.preemption_hook.world_size", lambda: 2)
        with pytest.raises(Preempted):
            run_clustered(tmp_path)
    assert latest_checkpoint(tmp_path).name == "iter_4.pth"
    assert_same(straight(), run_clustered(tmp_path, resume=True))


def test_state_ended_by_sigterm_before_the_first_iteration(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        broken(patch, terminated, call=1)
        with pytest.raises(Preempted):
            run_clustered(tmp_path, hook=dict(begin_epoch=0))
    assert latest_checkpoint(tmp_path) is None
    resumed = run_clustered(tmp_path, hook=dict(begin_epoch=0), resume=True)
    assert [entry["epoch"] for entry in cluster_hook(resumed).history] == [0, 1, 2, 3]


def test_state_history_is_in_checkpoints(tmp_path, straight):
    run = straight()
    checkpoint = torch.load(latest_checkpoint(run.work_dir), weights_only=True)
    history = checkpoint["cluster_hook"]["history"]
    assert history == cluster_hook(run).history
    assert [(entry["epoch"], entry["iter"]) for entry in history] == [(1, 4), (2, 8), (3, 12)]
    assert "cluster/nmi_l0" not in history[0]
    assert 0 <= history[1]["cluster/nmi_l0"] <= 1
    assert int(checkpoint["state_dict"]["prototypes.epoch"]) == 3
    logged = run.message_hub.get_scalar("cluster/used_l0").data[0].tolist()
    assert logged == [entry["cluster/used_l0"] for entry in history]


def test_state_prototypes_missing_after_warm_up(tmp_path, straight):
    """Weights of warm-up in a run without one: clustered before the first step, never a silent MoCo."""
    run = straight()
    state = {
        key: value
        for key, value in torch.load(latest_checkpoint(run.work_dir), weights_only=True).items()
        if key in ("meta", "state_dict")
    }
    torch.save(state, tmp_path / "weights.pth")
    options = {"load_from": str(tmp_path / "weights.pth"), "train_cfg.max_epochs": 1}
    started = run_clustered(tmp_path / "run", hook=dict(begin_epoch=0), **options)
    history = cluster_hook(started).history
    assert [(entry["epoch"], entry["iter"]) for entry in history] == [(0, 0)]
    assert "cluster/nmi_l0" not in history[0]  # the other run's prototypes are forgotten
    waiting = run_clustered(tmp_path / "wait", hook=dict(begin_epoch=1), **options)
    assert not waiting.model.prototypes.is_ready


@pytest.mark.parametrize("cache", [None, "memory", "folder"])
def test_equivalence_of_caches(tmp_path, straight, cache, monkeypatch):
    """Embeddings from kept pixels, in memory or by a second run from a folder, are the same."""
    monkeypatch.setattr(ToyImages, "fingerprint", lambda self: "toy", raising=False)
    hook = dict(cache=str(tmp_path / "cache") if cache == "folder" else cache, store=str(tmp_path))
    for name in ("first", "second"):
        run = run_clustered(tmp_path / name, hook=hook)
        assert_same(straight(), run)
    assert figures_without_seconds(cluster_hook(run).history)
