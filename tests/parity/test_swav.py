"""SwAV: codes, and whole epochs with LARC, frozen prototypes and a queue, against the official code."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from mmssl.convert.official.swav import LAYOUT
from mmssl.engine.optimizers import LARS
from mmssl.engine.schedulers import warmup_cosine
from mmssl.losses import unit_norm
from mmssl.models.algorithms import SwAV
from mmssl.models.backbones import crop_features
from mmssl.ops.sinkhorn import balanced_codes
from tests.helpers import official_steps as steps
from tests.helpers.fill import image
from tests.helpers.goldens import Golden
from tests.helpers.short_resnet import short_resnet

pytestmark = pytest.mark.parity
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


@dtypes
@pytest.mark.parametrize("case", ["swav_sinkhorn_a", "swav_sinkhorn_b"])
def test_values_codes(case: str, dtype: torch.dtype) -> None:
    golden = Golden("baselines", case)
    ((name, shape),) = golden.entry["inputs"]
    factor = float(re.search(r"multiplied by ([\d.]+)", golden.entry["inputs_note"])[1])
    epsilon = float(re.search(r"epsilon=([\d.]+)", golden.entry["built"])[1])
    iterations = int(re.search(r"sinkhorn_iterations=(\d+)", golden.entry["built"])[1])
    scores = image(name, shape).to(dtype) * factor
    codes = balanced_codes(scores, epsilon=epsilon, num_iterations=iterations)
    golden.check("Q", codes)
    golden.check("row_sums", codes.sum(dim=1))
    golden.check("col_sums", codes.sum(dim=0))


def number(pattern: str, text: str) -> float:
    return float(re.search(pattern, text)[1])


def build(golden: Golden, dtype: torch.dtype) -> SwAV:
    built, training = golden.entry["built"], golden.entry["training"]
    length = int(number(r"queue length (\d+)", training))
    model = SwAV(
        short_resnet(16),
        dict(type="MLPNeck", hid_channels=32, out_channels=16),
        dict(num_prototypes=int(number(r"nmb_prototypes=(\d+)", built))),
        queue_length=length,
        queue_start=int(number(r"from epoch (\d+)", training)),
    )
    queues = {k: v for k, v in model.state_dict().items() if k.startswith(("queues.", "filled"))}
    return steps.fill_through(
        model, LAYOUT.to_official, lambda theirs: LAYOUT.from_official(theirs) | queues, dtype
    )


def sizes_of(golden: Golden) -> list[int]:
    counts, sizes = re.search(
        r"crops: (\[.*?\]) of sizes (\[.*?\])", golden.entry["inputs_note"]
    ).groups()
    return [
        size
        for count, size in zip(eval_list(counts), eval_list(sizes), strict=True)
        for _ in range(count)
    ]


def eval_list(text: str) -> list[int]:
    return [int(part) for part in text.strip("[]").split(",")]


@dtypes
@pytest.mark.parametrize("case", ["swav_train_2x64_2x32", "swav_train_queue"])
def test_values_epochs(case: str, dtype: torch.dtype) -> None:
    golden = Golden("baselines", case)
    training = golden.entry["training"]
    ((pattern, shape),) = golden.entry["inputs"]
    sizes = sizes_of(golden)
    epochs, per_epoch = map(
        int, re.search(r"(\d+) epochs x (\d+) iterations", golden.entry["inputs_note"]).groups()
    )
    base = number(r"base lr ([\d.]+)", training)
    frozen = int(number(r"frozen for the first (\d+)", training))
    model = build(golden, dtype)
    online = [p for p in model.parameters() if p.requires_grad]
    optimizer = LARS(online, lr=base, weight_decay=1e-6, norm_of_sum=False, zero_norm="gradient")
    losses, rates, kept = [], [], []
    for step in range(epochs * per_epoch):
        epoch, place = divmod(step, per_epoch)
        # the same schedule as the runner's, see test_schedules.py
        rate = warmup_cosine(
            step,
            peak=base,
            start=0.3 * base,
            end=0.001 * base,
            warmup=per_epoch,
            total=epochs * per_epoch,
            peak_twice=True,
        )
        optimizer.param_groups[0]["lr"] = rate
        names = [
            pattern.replace("<epoch>", str(epoch))
            .replace("<iter>", str(place))
            .replace("<crop>", str(c))
            for c in range(len(sizes))
        ]
        views = steps.views_of(names, [(shape[0], 3, size, size) for size in sizes], dtype)
        if step == 0 and "embedding_step0_raw_prototypes" in golden.arrays:
            raw = build(golden, dtype)
            with torch.no_grad():
                features = crop_features(raw.backbone, views.images).views.transpose(0, 1)
                embeds = unit_norm(raw.neck(features.flatten(0, 1)))
                golden.check("embedding_step0_raw_prototypes", embeds)
                golden.check("scores_step0_raw_prototypes", raw.head(embeds))
        loss = steps.loss_of(model, views, step=step, epoch=epoch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            norms = steps.gradient_norms(model, _without_queues, golden.entry["grad_params"])
            golden.check("grad_norms_step0", norms)
        if step < frozen:
            model.head.prototypes.weight.grad = None
        kept.append(model.head.prototypes.weight.grad is not None)
        optimizer.step()
        losses.append(loss.detach())
        rates.append(rate)
        if step == per_epoch - 1:
            golden.check("prototypes_after_epoch0", model.head.prototypes.weight)
    golden.check("losses", torch.stack(losses))
    for epoch in range(epochs):
        mean = torch.stack(losses[epoch * per_epoch : (epoch + 1) * per_epoch]).mean()
        golden.check(f"epoch{epoch}_mean_loss", mean)
    golden.check("lr_schedule", torch.tensor(rates, dtype=torch.float64))
    assert kept == golden.arrays["prototypes_had_grad"].tolist()
    golden.check("prototypes_last", model.head.prototypes.weight)
    golden.check("bn1_gamma_last", model.backbone.bn1.weight)
    golden.check("proj_out_w_last", model.neck.layers[3].weight)
    if "queue_last" in golden.arrays:
        # theirs has the newest batch first; ours goes round
        rows = shape[0]
        theirs = golden.arrays["queue_last"]
        assert theirs.shape[1] % rows == 0
        for view, queue in enumerate(model.queues):
            batches = queue.features.roll(-int(queue.pointer), 0).split(rows)
            newest_first = torch.cat(list(reversed(batches))).detach().numpy()
            np.testing.assert_allclose(
                newest_first, theirs[view], atol=0.005 * np.abs(theirs).max()
            )


def _without_queues(state: dict) -> dict:
    return LAYOUT.to_official(state)
