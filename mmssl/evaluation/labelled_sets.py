"""LabelledSets: features of the labelled images that a backbone is evaluated on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mmssl.evaluation.features import (
    Features,
    evaluation_loader,
    extract_features,
    labelled,
    match_classes,
)
from mmssl.registry import DATASETS

Part = Literal["train", "val"]

TITLES = {"train": "training", "val": "validation"}


@dataclass
class LabelledSets:
    """Features of the training and validation images of an evaluation, each computed once.

    Attributes:
        backbone: On the device that computes.
        preprocessor: Of the images.
        plan: `train_dataset`, `val_dataset` and how to read them; see `evaluation_plan`.
        progress: Show bars.
        num_images: Labelled images of each set that was looked at, under `num_train` and `num_val`, and
            those that could not be read and do not count, under `num_train_unreadable` and so on.
        num_classes: Classes of the set that was looked at first.
    """

    backbone: nn.Module
    preprocessor: nn.Module
    plan: Mapping[str, Any]
    progress: bool
    num_images: dict[str, int] = field(default_factory=dict, init=False)
    num_classes: int = field(default=0, init=False)
    _datasets: dict[Part, Any] = field(default_factory=dict, init=False)
    _features: dict[Part, Features] = field(default_factory=dict, init=False)

    def _dataset(self, part: Part) -> Any:
        if part not in self._datasets:
            self._datasets[part] = DATASETS.build(self.plan[f"{part}_dataset"])
        return self._datasets[part]

    def _extract(
        self, dataset: Any, title: str, *, epoch: int = 0, last_blocks: int | None = None
    ) -> Features:
        """Features of one set."""
        plan = self.plan
        loader = evaluation_loader(
            dataset,
            epoch=epoch,
            batch_size=plan.get("batch_size", 64),
            num_workers=plan.get("num_workers", 2),
        )
        return extract_features(
            self.backbone,
            loader,
            stage=plan.get("stage", -1),
            last_blocks=last_blocks,
            patch_mean=plan.get("patch_mean", False),
            preprocessor=self.preprocessor,
            progress=title if self.progress else "",
        )

    def classes(self, part: Part) -> Sequence[str] | None:
        """Names of the classes of a set.

        Args:
            part: Which set.
        """
        return self._dataset(part).classes

    def labels(self, part: Part) -> Tensor | None:
        """Labels of all images of a set without looking at these, as in `Features`.

        Args:
            part: Which set.

        Returns:
            `None` if the data set does not tell them.
        """
        labels = getattr(self._dataset(part), "labels", None)
        return None if labels is None else torch.as_tensor(labels)

    def require_labels(self, part: Part, labels: Tensor) -> None:
        """Refuse a set without labels.

        Args:
            part: Which set.
            labels: Its labels, as in `Features`.

        Raises:
            ValueError: No image has one.
        """
        if not len(labels) or (labels.ndim == 1 and int(labels.max()) < 0):
            root = self.plan[f"{part}_dataset"].get("root", "the dataset")
            raise ValueError(
                f"No image of {root} has a label; an evaluation needs one folder per class."
            )

    def several_classes(self, part: Part) -> bool:
        """Whether the images of a set have a label for each class, as those of VOC do.

        Args:
            part: Which set.
        """
        dataset = self._dataset(part)
        return len(dataset) > 0 and dataset[0]["inputs"].label.ndim == 1

    def one(self, part: Part, last_blocks: int | None = None) -> Features:
        """The labelled images of a set, with classes numbered as it numbers them.

        The view's feature is kept for the next call; features of blocks, asked for once, are not.

        Args:
            part: Which set.
            last_blocks: Features of the last so many blocks; `None` for the view's feature.

        Raises:
            ValueError: No image of the set has a label.
        """
        if last_blocks is None and part in self._features:
            return self._features[part]
        title = f"Features of the {TITLES[part]} images"
        dataset = self._dataset(part)
        found = self._extract(dataset, title, last_blocks=last_blocks)
        self.require_labels(part, found.labels)
        data = labelled(found)
        if last_blocks is None:
            self._features[part] = data
        self.num_images[f"num_{part}"] = len(data.labels)
        # An image that cannot be read is replaced by another one, which counts once.
        self.num_images[f"num_{part}_unreadable"] = len(dataset) - len(found.labels)
        several = data.labels.ndim == 2
        self.num_classes = self.num_classes or (
            data.labels.shape[1] if several else len(data.labels.unique())
        )
        return data

    def both(self, last_blocks: int | None = None) -> tuple[Features, Features]:
        """The labelled training and validation images, their classes numbered alike.

        Args:
            last_blocks: See `one`.

        Raises:
            ValueError: No image of a set has a label, or the classes do not match.
        """
        # Both are built first: a folder that is not as it should be is told before hours of work.
        names = [self.classes(part) for part in ("train", "val")]
        train, val = (self.one(part, last_blocks) for part in ("train", "val"))
        return train, match_classes(val, names[1], names[0])

    def crops(self, last_blocks: int | None) -> list[Features]:
        """Features of random crops of all training images, one set per epoch of `crop_epochs`.

        Args:
            last_blocks: As above.
        """
        dataset = DATASETS.build({**self.plan["train_dataset"], "views": self.plan["crop_views"]})
        epochs = self.plan.get("crop_epochs", 1)
        return [
            self._extract(
                dataset,
                f"Features of random crops, {epoch + 1} of {epochs}",
                epoch=epoch,
                last_blocks=last_blocks,
            )
            for epoch in range(epochs)
        ]
