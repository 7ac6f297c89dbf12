"""Supervised training and the time table on a GPU: against the CPU, and the clock of the device."""

from __future__ import annotations

import copy
import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope

from mmssl.losses import class_cross_entropy
from mmssl.models.algorithms import ImageClassifier
from mmssl.models.layers.batch_mix import BatchMix
from mmssl.structures import ViewBatch
from tests.helpers.tiny import TinyBackbone

pytestmark = pytest.mark.gpu
TOOL = Path(__file__).parents[2] / "tools/inference_time.py"
TINY = """
default_scope = "mmssl"
arch = dict(depths=(1, 1), planes=(16, 16), stem_channels=16)
model = dict(backbone=dict(type="CoTNet", arch=arch, out_indices=(1,)))
"""


@pytest.mark.parametrize("alphas", [(0.8, 0.0), (0.0, 1.0)])
def test_equivalence_mixed_step_and_average_with_the_cpu(alphas: tuple[float, float]) -> None:
    init_default_scope("mmssl")
    torch.manual_seed(0)
    backbone, head = TinyBackbone((2, 3)).double(), dict(type="LinearHead", num_classes=4)
    model = ImageClassifier(
        backbone, head, frozen=False, label_smoothing=0.1, batch_mix=BatchMix(*alphas), momentum=0.9
    )
    model = model.double().train()
    views = ViewBatch(
        [torch.randn(6, 3, 32, 32).double()], torch.arange(6), [], torch.arange(6) % 4, []
    )
    found = []
    for device in ("cpu", "cuda"):
        net = copy.deepcopy(model).to(device)
        images = [image.to(device) for image in views.images]
        torch.manual_seed(1)  # shares and rectangles are drawn on the CPU
        loss = net.loss(views._replace(images=images, label=views.label.to(device)))["loss"]
        loss.backward()
        net.twin.update(net, 0, 1)
        grads = [p.grad.cpu() for p in net.parameters() if p.requires_grad]
        found.append((loss.detach().cpu(), grads, [b.cpu() for b in net.twin.buffers()]))
    torch.testing.assert_close(found[1], found[0], rtol=1e-6, atol=1e-9)


def test_values_loss_without_a_wait_for_the_device() -> None:
    logits = torch.randn(4, 3, device="cuda", requires_grad=True)
    labels = torch.tensor([0, 2, 1, 2], device="cuda")
    expected = class_cross_entropy(logits.cpu(), labels.cpu())
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss = class_cross_entropy(logits, labels)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(loss.cpu(), expected)


@pytest.mark.parametrize("compiled", [False, True])
def test_values_times_of_the_device(compiled: bool, tmp_path, monkeypatch) -> None:
    config, out = tmp_path / "tiny.py", tmp_path / "times.json"
    config.write_text(TINY)
    command = [str(TOOL), f"{config}=50", "--batch", "1", "8", "--size", "64", "--runs", "12",
               "--precision", "fp32", "tf32", "bf16", "fp16", "--channels-last", "--warm-up", "3",
               "--out", str(out)]  # fmt: skip
    monkeypatch.setattr(sys, "argv", command + ["--compile"] * compiled)
    runpy.run_path(str(TOOL), run_name="__main__")
    rows = json.loads(out.read_text())["results"]
    assert len(rows) == 8 * (1 + compiled)
    assert all(row["runs"] == 12 and row["milliseconds"] > 0 for row in rows)
