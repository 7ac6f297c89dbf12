"""Goldens of the CoTNet family: layers and networks with weights filled by official key."""

from __future__ import annotations

import json
import re
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from tests.helpers.fill import fill_keys, image
from tests.helpers.goldens import ROOT

FAMILY = ROOT / "cotnet"


@cache
def _cases() -> dict[str, dict]:
    content = json.loads((FAMILY / "goldens.json").read_text())
    return {case["name"]: case for case in content["cases"]}


def case_names(kind: str, *prefixes: str) -> list[str]:
    """Names of the cases of a kind that begin with one of `prefixes`."""
    return [n for n, case in _cases().items() if case["kind"] == kind and n.startswith(prefixes)]


class CoTGolden:
    """One case: its description (`entry`) and its arrays.

    Args:
        name: Of the case.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.entry = _cases()[name]
        with np.load(FAMILY / self.entry["file"]) as file:
            self.arrays = {key: torch.from_numpy(file[key]) for key in file.files}

    def inputs(self, dtype: torch.dtype) -> list[Tensor]:
        """Tensors by the names of the case, in its order."""
        return [image(one["name"], one["shape"]).to(dtype) for one in self.entry["inputs"]]

    def fill(self, module: nn.Module, dtype: torch.dtype) -> nn.Module:
        """`module`, whose names are the official ones, with the weights and in the mode of the case."""
        state = fill_keys({key: value.shape for key, value in module.state_dict().items()})
        if scaled := self.entry.get("post_fill"):
            for key in state:
                if key.endswith(scaled["suffix"]):
                    state[key] = state[key] * scaled["multiply"]
        module.load_state_dict(state)
        return module.to(dtype).train(self.entry["mode"].startswith("train"))

    def tolerance(self, dtype: torch.dtype, name: str) -> dict[str, float]:
        """`atol` and `rtol` of a quantity, out of the sentence of the case."""
        text = self.entry["tolerance"]["float64" if dtype == torch.float64 else "float32"]
        if self.entry["kind"] == "model":
            kind = name if name in ("grad_norm", "loss") else "features"
            text = next(part for part in text.split(";") if part.strip().startswith(kind))
            mode = "train" if self.entry["mode"].startswith("train") else "eval"
            numbers = re.findall(rf"([\d.e-]+) \({mode}\)", text) or re.findall(
                r"[\d.]+e-\d+", text
            )
            number = float(numbers[0])
            return dict(atol=0, rtol=number) if name == "grad_norm" else dict(atol=number, rtol=0)
        if dtype == torch.float64:
            return dict(atol=1e-9, rtol=1e-8)
        kind, number = re.search(rf"\b{name} (atol|rtol) ([\d.e-]+)", text).groups()
        return {"atol": 0, "rtol": 0, kind: float(number)}

    def check(self, array: str, value: Tensor, name: str | None = None) -> None:
        """Assert that `value` has the sample `array`; `name` is what its tolerance is called."""
        expected = self.arrays[array]
        flat = value.detach().flatten()
        if flat.numel() > expected.numel():
            flat = flat[:: -(-flat.numel() // 4096)]
        tolerance = self.tolerance(value.dtype, name or array)
        torch.testing.assert_close(flat.double(), expected.flatten().double(), **tolerance)
