"""Selection of negatives, prototype contrast and queue of HCSC and PCL on given embeddings."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mmssl.models.algorithms import HCSC, PCL
from mmssl.structures import Clustering, Progress, ViewBatch
from tests.helpers.given import Draws, Given, Same, negatives_below
from tests.helpers.golden_inputs import strided, uniform, unpacked
from tests.helpers.goldens import Golden
from tests.helpers.official_steps import unlabelled

pytestmark = pytest.mark.parity
CASES = ["select_small", "select_inst_only", "select_proto_only", "select_multicrop"]


def clustering_of(arrays: dict[str, np.ndarray], num_levels: int, dtype: torch.dtype) -> Clustering:
    """The prototypes of a case; an assignment that gives the batch its labels and uses the same ids."""

    def tensors(name: str, count: int) -> list[Tensor]:
        return [torch.from_numpy(arrays[f"{name}{level}"]) for level in range(count)]

    tree = "cluster2cluster0" in arrays
    parents = [p.long() for p in tensors("cluster2cluster", num_levels - 1)] if tree else []
    index = torch.from_numpy(arrays["index"]).long()
    if tree:
        labels = torch.from_numpy(arrays["labels"]).int()[:1]
    else:
        labels = torch.stack(tensors("labels", num_levels)).int()
    assignment = torch.zeros(len(labels), int(index.max()) + 1, dtype=torch.int32)
    assignment[:, index] = labels
    return Clustering(
        [c.to(dtype) for c in tensors("centroids", num_levels)],
        [d.to(dtype) for d in tensors("density", num_levels)],
        parents,
        assignment,
        [],
    )


def views_of(golden: Golden, dtype: torch.dtype) -> tuple[ViewBatch, list[Tensor]]:
    """The embeddings as 1 x 1 images, and those that learn."""
    names = [name for name in golden.arrays if name.endswith("_raw") or "local_raw" in name]
    leaves = {n: torch.from_numpy(golden.arrays[n]).to(dtype).requires_grad_() for n in names}
    images = [leaf[:, :, None, None] for leaf in leaves.values()]
    index = torch.from_numpy(golden.arrays["index"]).long()
    views = unlabelled(images, index)
    return views, [leaf for name, leaf in leaves.items() if name != "k_raw"]


def built_hcsc(golden: Golden, dtype: torch.dtype) -> tuple[HCSC, Draws]:
    """Our model of a case before its step."""
    about, arrays = golden.entry["built"], golden.arrays
    dim, levels = about["dim"], about["num_cluster"]
    model = HCSC(
        Given(dim),
        Same(dim),
        dict(type="Prototypes", num_clusters=levels, temperature=about["T"]),
        queue_length=about["queue_length"],
        temperature=about["T"],
        instance_selection=about["instance_selection"],
        prototype_selection=about["proto_selection"],
        selection_on_local=about["selection_on_local"],
    ).to(dtype)
    model.queue.features.copy_(torch.from_numpy(arrays["queue"]).T)
    model.queue.pointer.fill_(golden.entry["queue_ptr_before"])
    model.queue.index.copy_(torch.arange(about["queue_length"]))
    model.load_prototypes(clustering_of(arrays, len(levels), dtype), epoch=0)
    # ids that are used by images outside the batch
    last = torch.from_numpy(arrays["num_ids"]).long()
    model.prototypes.last_used.copy_(last)
    labels = torch.from_numpy(arrays["labels"])
    names = golden.entry["draws"].split("order: ")[1].split(", ")
    draws = Draws(names, negatives_below(last, labels))
    model.draw = draws
    model.progress = Progress(0, 1, 0, 1)
    return model.train(), draws


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", CASES)
def test_values_selection(case: str, dtype: torch.dtype) -> None:
    golden = Golden("hcsc", case)
    arrays = golden.arrays
    model, draws = built_hcsc(golden, dtype)
    views, leaves = views_of(golden, dtype)
    losses = model(views, mode="loss")
    total = sum(value for name, value in losses.items() if "loss" in name)
    total.backward()
    assert not draws.names, "draws are left over"
    for name, probability in draws.seen.items():
        kind = name.removeprefix(f"{case}/").replace("/", "_")
        np.testing.assert_allclose(strided(probability), arrays[f"p_{kind}"], atol=1e-5, rtol=0)
        keep = uniform(name, probability.shape) < probability
        assert torch.equal(keep, unpacked(arrays[f"mask_{kind}"], probability.shape)), name
    num_levels = model.prototypes.num_levels
    instance = [losses[key].item() for key in losses if key.startswith("loss_inst")]
    np.testing.assert_allclose(instance, arrays["loss_inst"], rtol=1e-5)
    proto = [losses[f"loss_proto_l{level}"].item() * num_levels for level in range(num_levels)]
    np.testing.assert_allclose(proto, arrays["loss_proto"], rtol=1e-5)
    if "loss_local_inst" in arrays:
        local = losses["loss_local_inst"].item(), losses["loss_local_proto"].item()
        expected = arrays["loss_local_inst"].sum(), arrays["loss_local_proto"].sum() / num_levels
        np.testing.assert_allclose(local, expected, rtol=1e-5)
    np.testing.assert_allclose(total.item(), arrays["loss_total"], rtol=1e-5)
    gradients = [arrays[name] for name in arrays if name.startswith("grad_")]
    for leaf, gradient in zip(leaves, gradients, strict=True):
        tolerance = 2e-5 * np.abs(gradient).max()
        np.testing.assert_allclose(leaf.grad, gradient, atol=tolerance, rtol=0)
    np.testing.assert_allclose(model.queue.features.T, arrays["queue_after"], atol=1e-6)
    assert int(model.queue.pointer) == int(arrays["queue_ptr_after"][0])
    assert model.queue.index.tolist() == arrays["queue_index_after"].tolist()
    if "avg_keep_ratio" in arrays:
        np.testing.assert_allclose(losses["keep_ratio"], arrays["avg_keep_ratio"], rtol=1e-5)
    for partition, level in zip(model.key_partition, model.prototypes.levels, strict=True):
        whole = level.log_partition(model.queue.features)
        torch.testing.assert_close(partition, whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_pcl_step(dtype: torch.dtype) -> None:
    golden = Golden("hcsc", "pcl_step")
    about, arrays = golden.entry["built"], golden.arrays
    levels = about["num_cluster"]
    model = PCL(
        Given(about["dim"]),
        Same(about["dim"]),
        dict(type="Prototypes", num_clusters=levels),
        num_negatives=about["r"],
        queue_length=about["r"],
        temperature=about["T"],
    ).to(dtype)
    model.queue.features.copy_(torch.from_numpy(arrays["queue"]).T)
    model.load_prototypes(clustering_of(arrays, len(levels), dtype), epoch=0)
    model.prototypes.last_used.copy_(
        torch.tensor([int(arrays[f"max_id{level}"]) for level in range(len(levels))])
    )
    drawn = {
        level: model.draw_negatives(level, torch.from_numpy(arrays[f"labels{level}"]).long())
        for level in range(len(levels))
    }
    for level, ids in drawn.items():
        allowed = set(range(int(arrays[f"max_id{level}"]) + 1))
        allowed -= set(arrays[f"labels{level}"].tolist())
        assert len(set(ids.tolist())) == about["r"] and set(ids.tolist()) <= allowed
    model.draw_negatives = lambda level, assigned: torch.from_numpy(
        arrays[f"negatives{level}"]
    ).long()
    model.progress = Progress(0, 1, 0, 1)
    views, (q,) = views_of(golden, dtype)
    losses = model(views, mode="loss")
    total = sum(value for name, value in losses.items() if "loss" in name)
    total.backward()
    np.testing.assert_allclose(losses["loss_inst"].item(), arrays["loss_inst"], rtol=1e-5)
    proto = [losses[f"loss_proto_l{level}"].item() * len(levels) for level in range(len(levels))]
    np.testing.assert_allclose(proto, arrays["loss_proto"], rtol=1e-5)
    np.testing.assert_allclose(total.item(), arrays["loss_total"], rtol=1e-5)
    tolerance = 2e-5 * np.abs(arrays["grad_q"]).max()
    np.testing.assert_allclose(q.grad, arrays["grad_q"], atol=tolerance, rtol=0)
    np.testing.assert_allclose(model.queue.features.T, arrays["queue_after"], atol=1e-6)
