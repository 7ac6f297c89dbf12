"""Cells, propagation and losses of PixPro against the official code, without a network.

Of PixContrast no code is released: its goldens are the article's formula over the official positive mask.
"""

from __future__ import annotations

import random
import re

import numpy as np
import pytest
import torch

from mmssl.convert.official.pixpro import from_official
from mmssl.datasets.transforms import HorizontalFlip, MultiView, RandomResizedCrop, VerticalFlip
from mmssl.datasets.transforms.geometric import Crop
from mmssl.losses import pixel_consistency, pixel_contrast, unit_norm
from mmssl.models.heads import PixelPropagation
from mmssl.ops.boxes import cell_centres, cell_diagonals, cell_distances, cells_near
from mmssl.ops.schedules import Cosine
from tests.helpers.fill import fill, image
from tests.helpers.golden_inputs import unpacked
from tests.helpers.goldens import Golden
from tests.helpers.pixel_goldens import boxes_of, compare, named_in, unit_maps

pytestmark = pytest.mark.parity
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


@pytest.mark.parametrize("case", ["pixpro_coord_7x7", "pixpro_coord_14x14"])
def test_values_boxes_of_crops_and_mirrors(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    golden = Golden("pixpro", case)
    transforms = [RandomResizedCrop(8), HorizontalFlip(), VerticalFlip()]
    views = MultiView([dict(num=2, transforms=transforms)], boxes="unit")
    found = []
    for row, flips in zip(golden.arrays["crops"], golden.arrays["flips"], strict=True):
        height, width, *crops = row.tolist()
        drawn = []
        for view in range(2):
            i, j, h, w = crops[4 * view : 4 * view + 4]
            mirrored = [bool(flip) for flip in flips[2 * view : 2 * view + 2]]
            drawn.append([Crop(j, i, w, h), *mirrored])
        monkeypatch.setattr(views, "draw", lambda view, size, rng, drawn=drawn: drawn[view])
        found.append(torch.stack(views(np.zeros((height, width, 3), np.uint8)).boxes))
    for view in range(2):
        compare(golden, f"coord{view + 1}", torch.stack(found)[:, view], rtol=1e-7)


@dtypes
@pytest.mark.parametrize("case", ["pixpro_coord_7x7", "pixpro_coord_14x14"])
def test_values_cells_distances_and_pairs(case: str, dtype: torch.dtype) -> None:
    golden = Golden("pixpro", case)
    options = golden.entry["options"]
    grid = (options["H"], options["W"])
    first, second = boxes_of(golden, dtype)
    for name, boxes in (("q", first), ("k", second)):
        centres = cell_centres(boxes, grid).unflatten(1, grid)
        for axis, letter in enumerate("xy"):
            expected = torch.from_numpy(golden.arrays[f"center_{name}_{letter}"]).to(dtype)
            torch.testing.assert_close(centres[..., axis], expected, rtol=0, atol=1e-6)
    unit = torch.maximum(cell_diagonals(first, grid), cell_diagonals(second, grid))
    compare(golden, "max_bin_diag", unit, rtol=1e-6)
    distance = cell_distances(first, second, grid, grid)
    compare(golden, "dist", distance, rtol=1e-5)
    near = cells_near(first, second, grid, grid, radius=options["pos_ratio"])
    assert torch.equal(near, unpacked(golden.arrays["mask_bits"], near.shape))
    assert near.sum(dim=(1, 2)).tolist() == golden.arrays["n_pos"].tolist()


class PythonRandom(random.Random):
    """The random stream of the official transform."""

    def integer(self, low: int, high: int) -> int:
        return self.randint(low, high)


@pytest.mark.parametrize("case", ["pixpro_crop_params", "pixpro_crop_params_2"])
def test_values_crops_are_drawn_by_the_same_law(case: str) -> None:
    golden = Golden("pixpro", case)
    for row, expected in zip(golden.arrays["setup"], golden.arrays["params"], strict=True):
        seed, width, height = (int(value) for value in row[:3])
        # stored in float32, used as written in the program: 3/4, 4/3
        scale, ratio = (
            [float(f"{value:.6g}") if abs(value - 4 / 3) > 1e-6 else 4 / 3 for value in pair]
            for pair in (row[3:5], row[5:7])
        )
        rng = PythonRandom(seed)
        transform = RandomResizedCrop(8, scale, ratio=ratio)
        crops = [transform.draw(rng, (width, height)) for _ in expected]
        found = [(crop.top, crop.left, crop.height, crop.width) for crop in crops]
        assert found == [tuple(one) for one in expected.tolist()]


@pytest.mark.parametrize("case", ["pixpro_momentum", "pixpro_momentum_2"])
def test_values_momentum(case: str) -> None:
    golden = Golden("pixpro", case)
    for name, about in golden.entry["options"].items():
        length = int(about["N"] / about["world"] / about["bs"] * about["epochs"])
        assert length == golden.arrays[f"{name}_K"]
        schedule = Cosine(about["base"], 1.0, length=length)
        # the iterations of the run do not matter
        found = [schedule(int(step), length - 14) for step in golden.arrays[f"{name}_at"]]
        np.testing.assert_allclose(found, golden.arrays[f"{name}_m"], rtol=0, atol=1e-9)


def propagation_of(case: str, golden: Golden) -> PixelPropagation:
    """The module that a case names, with filled weights by the official names."""
    built = golden.entry["built"]
    layers, gamma, clamp = (
        float(re.search(rf"{name}=(-?[\d.]+)", built)[1])
        for name in ("transform_layer", "pixpro_p", "clamp_value")
    )
    channels = golden.entry["inputs"][0][1][1]
    head = PixelPropagation(channels, num_layers=int(layers), gamma=gamma, clamp=clamp)
    theirs = {}
    for name, value in head.state_dict().items():
        official = name.replace("layers.0.", "linear1." if layers == 2 else "")
        official = official.replace("layers.1.", "bn1.").replace("layers.3.", "linear2.")
        theirs[official] = fill(official, value.shape)
    assert sorted(theirs) == sorted(named_in(golden.entry["fill"]))
    ours = from_official(theirs)
    head.load_state_dict({name.removeprefix("head."): value for name, value in ours.items()})
    return head.train()


@dtypes
@pytest.mark.parametrize(
    "case", ["ppm_default", "ppm_layer0_p1", "ppm_layer2_p2", "ppm_noclamp_p1"]
)
def test_values_propagation(case: str, dtype: torch.dtype) -> None:
    golden = Golden("pixpro", f"pixpro_{case}")
    head = propagation_of(case, golden).to(dtype)
    x, cotangent = (image(name, shape).to(dtype) for name, shape in golden.entry["inputs"])
    x.requires_grad_()
    raw = head(x)
    out = unit_norm(raw)
    (out * cotangent).sum().backward()
    compare(golden, "raw", raw, rtol=1e-5)
    compare(golden, "out", out, rtol=1e-5)
    compare(golden, "grad_x", x.grad, rtol=1e-4)
    ours = dict(head.named_parameters())
    for name in golden.arrays:
        if name.startswith("grad_value_transform_") and "__" not in name:
            last = name.removeprefix("grad_value_transform_")
            key = {"linear1": "layers.0", "bn1": "layers.1", "linear2": "layers.3"}
            part, _, kind = last.rpartition("_")
            compare(
                golden,
                name,
                ours[f"value_transform.{key.get(part, 'layers.0')}.{kind}"].grad,
                rtol=1e-4,
            )
    assert len(golden.arrays["grad_norms"]) == sum("__" not in n for n in golden.arrays
        if n.startswith("grad_value"))  # fmt: skip


@dtypes
@pytest.mark.parametrize("max_pairs", [2**22, 49 * 49 * 3])
@pytest.mark.parametrize("case", ["pixpro_loss_7x7", "pixpro_loss_all_disjoint"])
def test_values_consistency(case: str, dtype: torch.dtype, max_pairs: int) -> None:
    golden = Golden("pixpro", case)
    maps = unit_maps(golden, dtype)
    terms = pixel_consistency(
        (maps["q1"], maps["q2"]),
        (maps["k1"], maps["k2"]),
        boxes_of(golden, dtype),
        pos_ratio=golden.entry["options"]["ratio"],
        max_pairs=max_pairs,
    )
    first, second = -2 * terms.first.mean(), -2 * terms.second.mean()
    (first + second).backward()
    assert terms.num_positives.tolist() == golden.arrays["n_pos"].tolist()
    compare(golden, "loss_12", first, rtol=1e-5)
    compare(golden, "loss_21", second, rtol=1e-5)
    compare(golden, "loss", first + second, rtol=1e-5)
    compare(golden, "per_image_12", terms.first, rtol=1e-5)
    for name in ("q1", "q2"):
        compare(golden, f"grad_{name}", maps[name].grad, rtol=1e-4)


@dtypes
@pytest.mark.parametrize("max_pairs", [2**22, 49 * 49 * 3])
@pytest.mark.parametrize("case", ["pixcontrast_loss_7x7", "pixcontrast_loss_negratio1"])
def test_values_contrast(case: str, dtype: torch.dtype, max_pairs: int) -> None:
    golden = Golden("pixpro", case)
    options = golden.entry["options"]
    maps = unit_maps(golden, dtype)
    terms = pixel_contrast(
        (maps["q1"], maps["q2"]),
        (maps["k1"], maps["k2"]),
        boxes_of(golden, dtype),
        pos_ratio=options["ratio"],
        temperature=options["tau"],
        neg_ratio=options["neg_ratio"],
        max_pairs=max_pairs,
    )
    loss = (terms.first.mean() + terms.second.mean()) / 2
    loss.backward()
    assert terms.num_positives.tolist() == golden.arrays["n_pos"].tolist()
    compare(golden, "loss_12", terms.first.mean(), rtol=1e-5)
    compare(golden, "loss_21", terms.second.mean(), rtol=1e-5)
    compare(golden, "loss", loss, rtol=1e-5)
    compare(golden, "per_image_12", terms.first, rtol=1e-5)
    compare(golden, "per_image_21", terms.second, rtol=1e-5)
    for name in ("q1", "q2"):
        compare(golden, f"grad_{name}", maps[name].grad, rtol=1e-4)
