"""The comparison that a config of `configs/benchmarks/comparison` describes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmssl.evaluation.claims import Claim
from mmssl.evaluation.comparison import MEASURES, Budget, Comparison, Contestant, slug


def read_comparison(
    config: Config, *, root: Path, folder: Path, changes: Mapping[str, Any]
) -> Comparison:
    """The comparison that a config describes (`configs/benchmarks/comparison`).

    Args:
        config: As read from the file.
        root: Folder of `tools` and `configs`.
        folder: Where everything goes.
        changes: Entries that replace those of the config: `data`, or one of the budget.

    Raises:
        ValueError: An entry that is missing or unknown, contestants whose folders would be one, or a claim
            about somebody who does not take part.
    """
    described = {key: value for key, value in config.to_dict().items() if not callable(value)}
    try:
        budget = Budget(**(described["budget"] | {k: v for k, v in changes.items() if k != "data"}))
        contestants = {name: Contestant(**one) for name, one in described["contestants"].items()}
        claims = [
            Claim(**(one | dict(better=tuple(one["better"]), worse=tuple(one["worse"]))))
            for one in described["claims"]
        ]
        leaves = {key: described[key] for key in ("detector", "segmentor", "selection")}
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{config.filename} describes no comparison: {error}. See "
            "configs/benchmarks/comparison/shapes.py."
        ) from error
    for claim in claims:
        for name, measure in (claim.better, claim.worse):
            if name not in contestants or measure not in MEASURES:
                raise ValueError(
                    f"The claim {claim.text!r} is about {measure!r} of {name!r}; contestants are "
                    f"{', '.join(contestants)}, measures {', '.join(MEASURES)}."
                )
    folders: dict[str, str] = {}
    for name in contestants:
        other = folders.setdefault(slug(name), name)
        if other != name:
            raise ValueError(
                f"{other!r} and {name!r} would share the folder {slug(name)!r}: rename one."
            )
    data = Path(changes.get("data") or root / described["data"]).resolve()
    return Comparison(root, folder, data, budget, contestants=contestants, claims=claims, **leaves)
