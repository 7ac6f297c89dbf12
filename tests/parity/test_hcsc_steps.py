"""HCSC over three SGD steps, the first without prototypes, against the official code."""

from __future__ import annotations

import pytest
import torch

from mmssl.convert.official.moco import to_official
from mmssl.models.algorithms import HCSC
from mmssl.models.algorithms import hcsc as hcsc_module
from mmssl.structures import Clustering, Progress
from tests.helpers import contrast_steps as steps
from tests.helpers.fill import image
from tests.helpers.given import Draws, negatives_below
from tests.helpers.goldens import Golden
from tests.helpers.official_steps import unlabelled

pytestmark = pytest.mark.parity


def built(golden: Golden, dtype: torch.dtype) -> HCSC:
    """Our model of the case with the filled weights."""
    about = golden.entry["built"]
    model = HCSC(
        steps.resnet18(),
        steps.neck(about["dim"], mlp=True),
        dict(type="Prototypes", num_clusters=about["num_cluster"], temperature=about["T"]),
        queue_length=about["queue_length"],
        temperature=about["T"],
        momentum=about["m"],
        instance_selection=bool(about["instance_selection"]),
        prototype_selection=bool(about["proto_selection"]),
        selection_on_local=about["selection_on_local"],
    )
    return steps.fill_model(model, dtype)


def clustering_of(golden: Golden, dtype: torch.dtype) -> Clustering:
    """The stored result of the official clustering."""
    num = len(golden.entry["built"]["num_cluster"])
    stored = {
        name: [torch.from_numpy(golden.arrays[f"cluster/{name}{level}"]) for level in range(count)]
        for name, count in dict(centroids=num, density=num, cluster2cluster=num - 1, im2cluster=num).items()
    }  # fmt: skip
    made = Clustering(
        [centroids.to(dtype) for centroids in stored["centroids"]],
        [density.to(dtype) for density in stored["density"]],
        [parents.long() for parents in stored["cluster2cluster"]],
        stored["im2cluster"][0][None],
        [],
    )
    for level, assigned in enumerate(stored["im2cluster"]):
        assert torch.equal(made.on_level(level).long(), assigned.long())
    return made


def record(monkeypatch: pytest.MonkeyPatch, temperature: float) -> dict[str, torch.Tensor]:
    """A dictionary that keeps the logits of the last instance contrast, of the finest level."""
    seen: dict[str, torch.Tensor] = {}
    for name in ("info_nce", "selective_info_nce"):
        loss = getattr(hcsc_module, name)

        def recorded(q, k, queue, *, loss=loss, **options):
            keep = options["keep"][0] if "keep" in options else 1.0
            seen["logits"] = steps.contrast_logits(q, k, queue, temperature, keep)
            return loss(q, k, queue, **options)

        monkeypatch.setattr(hcsc_module, name, recorded)
    return seen


def terms(losses: dict[str, torch.Tensor], kind: str) -> torch.Tensor:
    """Loss terms whose names begin so, in the order of the levels."""
    names = sorted(name for name in losses if name.startswith(kind))
    return torch.stack([losses[name].detach() for name in names])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_three_steps(dtype: torch.dtype, monkeypatch) -> None:
    golden = Golden("hcsc", "hcsc_r18_step")
    about, arrays = golden.entry["built"], golden.arrays
    model = built(golden, dtype)
    optimizer, seen = steps.sgd(model, 0.03), record(monkeypatch, about["T"])
    order = golden.entry["draws"].split("order: ")[1].split(", ")
    for number in range(about["steps"]):
        step = f"step{number}"
        index = torch.from_numpy(arrays[f"index{number}"]).long()
        if number == about["steps_without_prototypes"]:
            model.load_prototypes(clustering_of(golden, dtype), epoch=number)
        if model.prototypes.is_ready:
            assigned = model.prototypes.assign(index)
            names = [name for name in order if f"/s{number}/" in name]
            model.draw = Draws(names, negatives_below(model.prototypes.last_used, assigned))
        shape = golden.entry["inputs"][0]["shapes"][0]
        images = [image(f"{golden.case}/s{number}/view{v}", shape).to(dtype) for v in (0, 1)]
        model.progress = Progress(number, 10, 0, 1)
        model.twin.update(model, number, 10)
        losses = model(unlabelled(images, index), mode="loss")
        total = sum(value for name, value in losses.items() if "loss" in name)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        found = {
            "loss_inst": terms(losses, "loss_inst"),
            "loss_total": total.detach(),
            "inst_logits0": seen["logits"],
            **steps.after_step(model, golden.entry["grad_names"]),
        }
        if number >= about["steps_without_prototypes"]:
            found["loss_proto"] = terms(losses, "loss_proto") * len(about["num_cluster"])
            assert not model.draw.names, "draws are left over"
        steps.check(golden, {f"{step}/{name}": value for name, value in found.items()}, dtype)
    state = {k: v for k, v in model.state_dict().items() if k.startswith("queue.")}
    queue = to_official(state)
    assert queue["queue_ptr"].tolist() == arrays["queue_ptr"].tolist()
    assert queue["queue_index"].tolist() == arrays["queue_index"].tolist()
    model.eval()
    with torch.no_grad():
        feature = model.project(model.twin, image(f"{golden.case}/eval", [4, 3, 64, 64]).to(dtype))
    steps.check(golden, dict(queue=queue["queue"], eval_feature=feature), dtype)
