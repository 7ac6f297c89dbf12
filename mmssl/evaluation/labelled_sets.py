"""LabelledSets: features of the labelled images that a backbone is evaluated on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from mmssl.evaluation.features import (
    Features,
    evaluation_loader,
    extract_features,
    labelled,
    match_classes,
)
from mmssl.registry import DATASETS


@dataclass(frozen=True)
class LabelledSets:
    """Features of the training and validation images of an evaluation.

    Attributes:
        backbone: On the device that computes.
        preprocessor: Of the images.
        plan: `train_dataset`, `val_dataset` and how to read them; see `evaluation_plan`.
        progress: Show bars.
    """

    backbone: nn.Module
    preprocessor: nn.Module
    plan: Mapping[str, Any]
    progress: bool

    def _features(
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
            preprocessor=self.preprocessor,
            progress=title if self.progress else "",
        )

    def both(self, last_blocks: int | None) -> tuple[Features, Features]:
        """The labelled training and validation images, their classes numbered alike.

        Args:
            last_blocks: Features of the last so many blocks; `None` for the view's feature.

        Raises:
            ValueError: No image of a set has a label, or the classes do not match.
        """
        # Both are built first: a folder that is not as it should be is told before hours of work.
        datasets = [DATASETS.build(self.plan[f"{name}_dataset"]) for name in ("train", "val")]
        found = []
        for name, title, dataset in zip(
            ("train", "val"), ("training", "validation"), datasets, strict=True
        ):
            data = labelled(
                self._features(dataset, f"Features of the {title} images", last_blocks=last_blocks)
            )
            if not len(data.labels):
                root = self.plan[f"{name}_dataset"].get("root", "the dataset")
                raise ValueError(
                    f"No image of {root} has a label; an evaluation needs one folder per class."
                )
            found.append(data)
        train, val = datasets
        return found[0], match_classes(found[1], val.classes, train.classes)

    def crops(self, last_blocks: int | None) -> list[Features]:
        """Features of random crops of all training images, one set per epoch of `crop_epochs`.

        Args:
            last_blocks: As above.
        """
        dataset = DATASETS.build({**self.plan["train_dataset"], "views": self.plan["crop_views"]})
        epochs = self.plan.get("crop_epochs", 1)
        return [
            self._features(
                dataset,
                f"Features of random crops, {epoch + 1} of {epochs}",
                epoch=epoch,
                last_blocks=last_blocks,
            )
            for epoch in range(epochs)
        ]
