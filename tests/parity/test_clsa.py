"""CLSA's losses, gradients and queue against the official code, through MoCo's converter."""

from __future__ import annotations

import pytest
import torch

from mmssl.convert.official.moco import to_official
from mmssl.models.algorithms import CLSA
from mmssl.models.algorithms import clsa as clsa_module
from tests.helpers import contrast_steps
from tests.helpers import official_steps as steps
from tests.helpers.goldens import Golden

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_step(dtype: torch.dtype, monkeypatch) -> None:
    golden = Golden("baselines", "clsa_single")
    model = CLSA(
        contrast_steps.resnet18(),
        contrast_steps.neck(16, mlp=True),
        queue_length=8,
        momentum=0.9,
    )
    contrast_steps.fill_model(model, dtype)
    sizes = [int(size) for size in golden.entry["inputs_note"].removeprefix("sizes ").split(",")]
    seen = {}
    contrast, divergence = clsa_module.contrast_among, clsa_module.distillation

    def keep_contrast(q, keys, own, *, temperature):
        seen["logits0"], seen["labels0"] = (q @ keys.T / temperature), own
        return contrast(q, keys, own, temperature=temperature)

    def keep_divergence(student, teacher, pairs, *, temperature):
        seen["strong_prob0"] = (student[:, 0] / temperature).softmax(dim=1)
        seen["target_prob0"] = teacher[:, 0]
        assert pairs.numel() == golden.arrays["n_terms"][1]
        return divergence(student, teacher, pairs, temperature=temperature)

    monkeypatch.setattr(clsa_module, "contrast_among", keep_contrast)
    monkeypatch.setattr(clsa_module, "distillation", keep_divergence)
    names = ["clsaa/key", "clsaa/weak0", "clsaa/strong0"]
    views = steps.views_of(names, [(4, 3, s, s) for s in (64, sizes[0], sizes[0])], dtype)
    model.twin.update(model, 0, 10)
    found = steps.loss_of(model, views)
    (found["loss_contrast"] + found["loss_divergence"]).backward()
    golden.check("loss_contrastive", found["loss_contrast"])
    golden.check("loss_ddm", found["loss_divergence"])
    assert seen.pop("labels0").tolist() == golden.arrays["labels0"].tolist()
    for name, value in seen.items():
        golden.check(name, value)
    norms = contrast_steps.norms(model, golden.entry["grad_params"], contrast_steps.gradient)
    golden.check("grad_norms", norms, dtype)
    golden.check("queue_last", to_official(model.state_dict())["queue"])
