"""Linear classification on two gloo processes: 49 validation images are counted once each."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.registry import init_default_scope

from mmssl.evaluation import MultiLabelPrecision, TopKAccuracy
from mmssl.registry import DATASETS, MODELS
from mmssl.structures import Predictions
from tests.helpers.classifiers import LINEAR, classifier_config, draw, scores_of, write_pretrained
from tests.helpers.processes import start, train

pytestmark = pytest.mark.dist


def test_equivalence_with_one_process_of_twice_the_batch(tmp_path: Path) -> None:
    init_default_scope("mmssl")
    draw(tmp_path / "shapes")
    write_pretrained(tmp_path / "pretrained.pth")
    config = classifier_config(LINEAR, tmp_path / "shapes", tmp_path / "pretrained.pth", tmp_path)
    config.train_dataloader.drop_last = True
    config.dump(str(tmp_path / "linear.py"))
    arguments = (tmp_path / "linear.py", "--work-dir")
    size = ("--cfg-options", "train_dataloader.batch_size=8", "val_dataloader.batch_size=8")
    two = start(
        "bash", "tools/dist_train.sh", arguments[0], "2", arguments[1], tmp_path / "two", *size,
        log=tmp_path / "two.log",
    )  # fmt: skip
    assert two.wait(240) == 0, (tmp_path / "two.log").read_text()[-3000:]
    one = train(*arguments, tmp_path / "one", log=tmp_path / "one.log")
    assert one.wait(240) == 0, (tmp_path / "one.log").read_text()[-3000:]
    states = [
        torch.load(tmp_path / name / "epoch_2.pth", weights_only=True)["state_dict"]
        for name in ("one", "two")
    ]
    for key, value in states[0].items():
        torch.testing.assert_close(states[1][key], value, rtol=1e-4, atol=1e-5, msg=key)
    model = MODELS.build(config.model)
    model.load_state_dict(states[1])
    val = DATASETS.build(config.val_dataloader.dataset)
    order = scores_of(model, val).numpy().argsort(axis=1)[:, ::-1]
    right = sum(label in order[row, :5] for row, label in enumerate(val.labels))
    last = json.loads((tmp_path / "two/result.json").read_text())["last"]
    assert last["accuracy/top5"] == pytest.approx(100 * right / 49)


def drawn() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(11, 4, generator=generator), torch.randint(
        -1, 2, (11, 4), generator=generator
    )


def figures(batches: list[list[int]]) -> dict[str, float]:
    """Both metrics over some batches of image numbers."""
    scores, labels = drawn()
    single, several = TopKAccuracy((1, 2)), MultiLabelPrecision()
    for rows in batches:
        index = torch.tensor(rows)
        single.process(None, [Predictions(index, index % 4, scores[index])])
        several.process(None, [Predictions(index, labels[index].char(), scores[index])])
    return single.evaluate(11) | several.evaluate(11)


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    # another number of images on each rank, and images that both have seen
    batches = [[[0, 2, 4], [6, 8, 10, 1]], [[1, 3, 5, 7], [9, 0]]][rank]
    Path(folder, f"{rank}.json").write_text(json.dumps(figures(batches)))
    dist.destroy_process_group()


def test_values_metrics_count_each_image_once(tmp_path: Path) -> None:
    mp.spawn(work, args=(str(tmp_path),), nprocs=2)
    expected = figures([list(range(11))])
    for rank in range(2):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == pytest.approx(expected)
    scores, _ = drawn()
    right = np.mean(scores.argmax(1).numpy() == np.arange(11) % 4)
    assert expected["accuracy/top1"] == pytest.approx(100 * right)
