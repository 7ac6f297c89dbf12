"""MoCo on two gloo processes against the official code: shuffled batches, BatchNorm per rank, one queue."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.model import MMDistributedDataParallel

from mmssl.models.algorithms import MoCo
from mmssl.models.algorithms import moco as moco_module
from mmssl.structures import Progress, ViewBatch
from tests.helpers import contrast_steps as steps
from tests.helpers.fill import image
from tests.helpers.golden_inputs import permutation
from tests.helpers.goldens import Golden
from tests.helpers.official_steps import unlabelled

pytestmark = pytest.mark.dist
CASE = "moco_r18_2ranks"


def model_of(golden: Golden) -> MoCo:
    about = golden.entry["built"]
    model = MoCo(
        steps.resnet18(),
        steps.neck(about["dim"], mlp=about["mlp"]),
        queue_length=about["K"],
        temperature=about["T"],
        momentum=about["m"],
    )
    return steps.fill_model(model, torch.float64)


def train(rank: int, num_steps: int) -> dict[str, torch.Tensor]:
    """The first steps of the case on one rank: what the golden stores, by its names."""
    golden = Golden("hcsc", CASE)
    model = model_of(golden)
    wrapped = MMDistributedDataParallel(model, broadcast_buffers=True)
    optimizer = steps.sgd(model, 0.03)
    shape = golden.entry["inputs"][0]["shape"]
    seen: list[torch.Tensor] = []
    contrast = moco_module.info_nce

    def recorded(q, k, queue, *, temperature):
        seen.append(steps.contrast_logits(q, k, queue, temperature)[:, 0])
        return contrast(q, k, queue, temperature=temperature)

    moco_module.info_nce = recorded
    found, losses = {}, []
    for step in range(num_steps):
        torch.randperm = lambda size, step=step, **options: permutation(f"{CASE}/s{step}", size)
        images = [image(f"{CASE}/s{step}/rank{rank}/{view}", shape).double() for view in "qk"]
        views = unlabelled(images)
        model.progress = Progress(step, 3, 0, 1)
        model.twin.update(model, step, 3)
        loss = wrapped(views, mode="loss")["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        found[f"rank{rank}/step{step}/l_pos"] = seen[-1]
        for name, value in steps.after_step(model, golden.entry["grad_names"]).items():
            own = f"rank{rank}/" if "running" in name else ""
            found[f"{own}step{step}/{name}"] = value
    found[f"rank{rank}/losses"] = torch.stack(losses)
    return found | dict(queue=model.queue.features.T, queue_ptr=model.queue.pointer.reshape(1))


def work(rank: int, folder: str, num_steps: int, shuffled: bool) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    if not shuffled:
        moco_module.through_shuffled_batch = lambda encode, images: torch.no_grad()(encode)(images)
    torch.save(train(rank, num_steps), f"{folder}/{rank}.pth")
    dist.destroy_process_group()


def run(folder: Path, *, num_steps: int, shuffled: bool) -> list[dict[str, torch.Tensor]]:
    mp.spawn(work, args=(str(folder), num_steps, shuffled), nprocs=2)
    return [torch.load(folder / f"{rank}.pth", weights_only=True) for rank in range(2)]


def test_values_three_steps_on_two_ranks(tmp_path: Path) -> None:
    golden = Golden("hcsc", CASE)
    ranks = run(tmp_path, num_steps=golden.entry["built"]["steps"], shuffled=True)
    compared = set()
    for found in ranks:
        assert int(found.pop("queue_ptr")) == int(golden.arrays["queue_ptr"][0]) == 0
        steps.check(golden, found, torch.float64)
        compared |= found.keys()
    assert compared == golden.arrays.keys() - {"queue_ptr"}


def test_values_differ_without_the_shuffle(tmp_path: Path) -> None:
    """A step with each rank's keys encoded at home: the case would notice."""
    golden = Golden("hcsc", CASE)
    found, _ = run(tmp_path, num_steps=1, shuffled=False)
    for name in ("rank0/step0/l_pos", "step0/grad_norms", "rank0/step0/encoder_k.bn1.running_mean"):
        expected = golden.arrays[name]
        deviation = np.abs(found[name].numpy() - expected).max() / np.abs(expected).max()
        assert deviation > 1000 * steps.FLOAT64_RTOL, name
