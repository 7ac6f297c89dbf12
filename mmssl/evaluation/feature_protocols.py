"""FeatureProtocols: what is measured on the features of a frozen backbone, computed once for all."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from mmssl.evaluation.clustering import cluster_features
from mmssl.evaluation.labelled_sets import LabelledSets, Part
from mmssl.evaluation.linear_probe import linear_probe
from mmssl.evaluation.logistic_regression import logistic_regression
from mmssl.evaluation.svm import linear_svm
from mmssl.ops.knn import weighted_knn

Method = Literal["knn", "linear", "logistic", "svm", "cluster"]

# Arguments that do not belong into a plan: the images, and what the command line says.
_NOT_IN_A_PLAN = {
    "train", "val", "data", "classes", "seed", "device", "progress",
    "queries", "query_labels", "bank", "bank_labels",
}  # fmt: skip


def _arguments(function: Callable[..., Any]) -> set[str]:
    return set(inspect.signature(function).parameters) - _NOT_IN_A_PLAN


# In the order in which they run.
OPTIONS: dict[Method, set[str]] = {
    "linear": _arguments(linear_probe),
    "knn": _arguments(weighted_knn),
    "logistic": _arguments(logistic_regression),
    "svm": _arguments(linear_svm),
    "cluster": _arguments(cluster_features) | {"split"},
}
"""What a plan may say about each protocol."""


def parts_needed(method: Method, plan: Mapping[str, Any]) -> set[Part]:
    """Which images a protocol looks at.

    Args:
        method: The protocol.
        plan: See `evaluation_plan`.

    Raises:
        ValueError: There is no such part.
    """
    if method != "cluster":
        return {"train", "val"}
    split = plan["cluster"].get("split", "val")
    if split not in ("train", "val"):
        raise ValueError(f"evaluation.cluster.split must be 'train' or 'val', got {split!r}.")
    return {split}


@dataclass(frozen=True)
class FeatureProtocols:
    """The protocols of an evaluation; each returns its result for the record, and the features' size.

    Attributes:
        sets: The images.
        plan: See `evaluation_plan`.
        seed: Of everything random.
        device: Where heads are trained and neighbours and clusters are sought.
        progress: Show bars.
    """

    sets: LabelledSets
    plan: Mapping[str, Any]
    seed: int
    device: torch.device | str
    progress: bool

    def run(self, method: Method) -> tuple[dict[str, Any], int]:
        """Evaluate.

        Args:
            method: The protocol.

        Raises:
            ValueError: What the protocol refuses; `check_images` tells most of it beforehand.
        """
        protocols = dict(
            linear=self._linear,
            knn=self._knn,
            logistic=self._logistic,
            svm=self._svm,
            cluster=self._cluster,
        )
        return protocols[method]()

    def _title(self, title: str) -> str:
        return title if self.progress else ""

    def _linear(self) -> tuple[dict[str, Any], int]:
        blocks = self.plan.get("last_blocks")
        train, val = self.sets.both(blocks)
        crops = self.sets.crops(blocks) if self.plan.get("crop_views") else train
        found = linear_probe(
            crops,
            val,
            seed=self.seed,
            device=self.device,
            progress=self._title("Linear probe"),
            **self.plan["linear"],
        )
        return asdict(found), train.features.shape[1]

    def _knn(self) -> tuple[dict[str, Any], int]:
        train, val = self.sets.both()
        accuracy = weighted_knn(
            val.features.to(self.device),
            val.labels,
            train.features,
            train.labels,
            **self.plan["knn"],
        )
        found = {str(k): value._asdict() for k, value in accuracy.items()}
        return found, train.features.shape[1]

    def _logistic(self) -> tuple[dict[str, Any], int]:
        train, val = self.sets.both()
        found = logistic_regression(
            train,
            val,
            seed=self.seed,
            device=self.device,
            progress=self._title("Logistic regression"),
            **self.plan["logistic"],
        )
        return asdict(found), train.features.shape[1]

    def _svm(self) -> tuple[dict[str, Any], int]:
        train, val = self.sets.both()
        title = self._title("Linear SVM")
        found = linear_svm(
            train,
            val,
            classes=self.sets.classes("train"),
            seed=self.seed,
            progress=title,
            **self.plan["svm"],
        )
        return asdict(found), train.features.shape[1]

    def _cluster(self) -> tuple[dict[str, Any], int]:
        (part,) = parts_needed("cluster", self.plan)
        data = self.sets.one(part)
        options = {key: value for key, value in self.plan["cluster"].items() if key != "split"}
        options.setdefault("clusterer", dict(type="KMeans", device=str(self.device)))
        found = cluster_features(
            data,
            classes=self.sets.classes(part),
            seed=self.seed,
            progress=self._title("Clustering"),
            **options,
        )
        return {"split": part, **asdict(found)}, data.features.shape[1]
