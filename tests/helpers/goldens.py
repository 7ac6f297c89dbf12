"""Reading goldens: outputs of the authors' code with their sampling and tolerances."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tests.helpers.tolerance import FLOAT64_RTOL

ROOT = Path(__file__).parents[1] / "data" / "goldens"
# Of the baselines, run in float64 on float32 weights: a step moves a weight by 1e-6 of it and more.
BASELINES_RTOL = 1e-8
# Their code computes a part in float32 whatever it is given (queues and banks, the positions of MoCo v3).
FLOAT32_PARTS = re.compile("moco(v[12]_|v3_vit|v3_pos)|clsa|npid")
FLOAT32_PARTS_RTOL = 1e-6
FLOAT32_RUNS = re.compile("simclr")  # TensorFlow


@cache
def _entries(family: str) -> dict[str, dict]:
    entries = json.loads((ROOT / family / "goldens.json").read_text())
    return {entry["case"]: entry for entry in entries}


@cache
def official_keys(family: str) -> dict[str, list]:
    """[state-dict key, shape] of the authors' full-size models, by constructor."""
    return json.loads((ROOT / family / "official_keys.json").read_text())


class Golden:
    """One case: its description (`entry`) and its arrays.

    Args:
        family: Folder under tests/data/goldens.
        case: Name of the case.
    """

    def __init__(self, family: str, case: str) -> None:
        self.family = family
        self.case = case
        self.entry = _entries(family)[case]
        with np.load(ROOT / family / f"{case}.npz") as file:
            self.arrays = {name: file[name] for name in file.files}

    def check(
        self,
        name: str,
        value: Tensor | float | np.ndarray,
        dtype: torch.dtype | None = None,
    ) -> float:
        """Assert that `value` equals the array `name`; returns deviation / tolerance.

        CARE and EsViT: the tolerance of the entry for `dtype` (default that of `value`), against the
        float64 twin for float64 where there is one.
        Baselines: max|a - b| <= rtol * max|b| with the rtol of the entry, which is for float32; their own
        runs were in float64, so float64 has to be closer.
        """
        actual = torch.as_tensor(value).detach()
        dtype = dtype or actual.dtype
        about = self.entry["arrays"][name]
        if "tolerance" in self.entry:
            expected = self.arrays[name]
            rtol = self.entry["tolerance"]["rtol"][name]
            if dtype == torch.float64 and not FLOAT32_RUNS.search(self.case):
                parts = FLOAT32_PARTS.match(self.case)
                rtol = min(rtol, FLOAT32_PARTS_RTOL if parts else BASELINES_RTOL)
            tolerance = rtol * float(np.abs(expected).max())
        elif dtype == torch.float64 and f"{name}__f64" in self.arrays:
            expected = self.arrays[f"{name}__f64"]
            tolerance = FLOAT64_RTOL * float(np.abs(expected).max())
        else:
            expected = self.arrays[name]
            tolerance = about.get("atol", about.get("atol_suggested_f32", 0.0))
        flat = actual.double().flatten().numpy()
        sampling = re.match(r"flat\[::(\d+)\]", about.get("stored", ""))
        if sampling:
            stats = self.arrays.get(f"{name}__stats")
            if stats is None:
                stats = [self.arrays[f"{name}.mean"], self.arrays[f"{name}.std"]]
            # from their float32 run, which differs from float64 by up to 1 % in ill-conditioned cases
            rtol = 1e-2 if dtype == torch.float64 else 1e-3
            np.testing.assert_allclose(
                [flat.mean(), flat.std()], stats, rtol=rtol, atol=tolerance, err_msg=name
            )
            flat = flat[:: int(sampling.group(1))]
        assert flat.size == expected.size, (
            f"{self.case} {name}: {flat.size} values, {expected.size}"
        )
        deviation = float(np.abs(flat - expected.astype(np.float64).ravel()).max(initial=0.0))
        assert deviation <= tolerance, (
            f"{self.case} {name}: differs by {deviation:.3g}, tolerance {tolerance:.3g}"
        )
        return deviation / tolerance if tolerance else 0.0
