"""NormAverageHook on two gloo processes: running statistics become the mean, nothing else does."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.hooks import Hook
from mmengine.model import MMDistributedDataParallel
from torch import Tensor, nn

from mmssl.engine.hooks import NormAverageHook
from mmssl.engine.runner import Runner
from mmssl.registry import DATASETS
from mmssl.structures import ViewBatch
from tests.helpers.classifiers import BACKBONE
from tests.helpers.runs import toy_config
from tests.helpers.toy import ToyImages

pytestmark = pytest.mark.dist
EPOCHS = 2
STATISTICS = ("running_mean", "running_var")


@DATASETS.register_module()
class LabelledToyImages(ToyImages):
    """Of four classes."""

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, ViewBatch]:
        views = super().__getitem__(key)["inputs"]
        return dict(inputs=views._replace(boxes=[], label=views.index % 4))


class Recorder(Hook):
    """Keeps what the model's state is before the average is taken, and when validation starts."""

    priority = "BELOW_NORMAL"  # behind the last update of the averaged weights (HIGH), before LOW

    def __init__(self) -> None:
        self.before: list[dict[str, Tensor]] = []
        self.validated: list[dict[str, Tensor]] = []

    def after_train_epoch(self, runner) -> None:
        assert isinstance(runner.model, MMDistributedDataParallel)
        self.before.append(state_of(runner))

    def before_val_epoch(self, runner) -> None:
        self.validated.append(state_of(runner))


def state_of(runner: Runner) -> dict[str, Tensor]:
    state = runner.model.module.state_dict()
    return {name: value.clone() for name, value in state.items()}


def plain_model(rank: int) -> nn.Module:
    """A BatchNorm that saw other images on each rank, and one without statistics."""
    torch.manual_seed(rank)
    net = nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.BatchNorm1d(4, track_running_stats=False)
    )
    net(torch.randn(8, 3))
    return net


def classifier_run(folder: str, rank: int) -> Runner:
    """A supervised run that keeps averaged weights, and whose hooks are in the order of the recipes."""
    images = dict(type="LabelledToyImages", length=16, sizes=[32])
    loader = dict(batch_size=4, num_workers=0, collate_fn=dict(type="default_collate"))
    config = toy_config(
        Path(folder) / "run",
        launcher="pytorch",
        model=dict(
            type="ImageClassifier",
            backbone=BACKBONE,
            head=dict(type="LinearHead", num_classes=4),
            frozen=False,
            momentum=0.5,
            _delete_=True,
        ),
        custom_hooks=[dict(type="NormAverageHook")],
        val_dataloader=dict(loader, dataset=images, sampler=dict(type="DefaultSampler")),
        val_cfg=dict(),
        val_evaluator=dict(type="TopKAccuracy"),
        **{
            "train_dataloader.dataset": dict(images, _delete_=True),
            "train_cfg.max_epochs": EPOCHS,
            "default_hooks.report": None,
        },
    )
    return Runner.from_cfg(config)


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ["LOCAL_RANK"] = str(rank)  # as torchrun does; a runner asks for it
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    net = plain_model(rank)
    hook, runner = NormAverageHook(), SimpleNamespace(model=net)
    hook.before_train(runner)
    hook.after_train_epoch(runner)
    run, recorder = classifier_run(folder, rank), Recorder()
    run.register_hook(recorder)
    run.train()
    record = dict(plain=net.state_dict(), before=recorder.before, validated=recorder.validated)
    torch.save(record, f"{folder}/{rank}.pth")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What two processes have left: a record each, and the checkpoints of their run."""
    path = tmp_path_factory.mktemp("norms")
    mp.spawn(work, args=(str(path),), nprocs=2)
    return path


def records(folder: Path) -> list[dict]:
    return [torch.load(folder / f"{rank}.pth", weights_only=True) for rank in range(2)]


def test_values_mean_of_the_ranks(folder: Path) -> None:
    before = [plain_model(rank).state_dict() for rank in range(2)]
    after = [record["plain"] for record in records(folder)]
    for name in before[0]:
        averaged = name in ("1.running_mean", "1.running_var")
        for rank in range(2):
            expected = (before[0][name] + before[1][name]) / 2 if averaged else before[rank][name]
            assert torch.equal(after[rank][name], expected), name
    assert not torch.equal(before[0]["1.running_mean"], before[1]["1.running_mean"])


@pytest.mark.parametrize("epoch", range(EPOCHS))
def test_values_statistics_of_averaged_weights_behind_ddp(folder: Path, epoch: int) -> None:
    """Those of the classifier and of its average become the mean; what was equal stays as it is.

    So they are in the checkpoint of the epoch, and in the validation that follows.
    """
    first, second = records(folder)
    mine, theirs = first["before"][epoch], second["before"][epoch]
    averaged = {name for name in mine if name.endswith(STATISTICS)}
    ours = {name for name in averaged if name.startswith("backbone.")}
    assert ours and averaged == ours | {f"twin.{name}" for name in ours}
    saved = torch.load(folder / f"run/epoch_{epoch + 1}.pth", weights_only=True)["state_dict"]
    later = [first["validated"][epoch], second["validated"][epoch], saved]
    for name, value in mine.items():
        assert torch.equal(value, theirs[name]) == (name not in averaged), name
        expected = (value + theirs[name]) / 2 if name in averaged else value
        for state in later:
            assert torch.equal(state[name], expected), name
    for name in ours:
        assert not torch.equal(saved[name], saved[f"twin.{name}"]), name


def test_raises_without_statistics() -> None:
    runner = SimpleNamespace(model=nn.Linear(2, 2))
    with pytest.raises(ValueError, match="no BatchNorm with running statistics"):
        NormAverageHook().before_train(runner)
