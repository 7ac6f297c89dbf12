"""InstanceClassifier: one weight vector for every training image.

Parametric Instance Classification for Unsupervised Visual Feature Learning (PIC), 2020, arXiv 2006.14618.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmssl.models.memories.idle_cohorts import Correction
from mmssl.models.memories.instance_rows import InstanceRows
from mmssl.ops.instance_index import check_instances
from mmssl.registry import MODELS


class InstanceClasses(NamedTuple):
    """The classes that a batch is told apart from.

    Attributes:
        weight: (C, D) their weights, which learn; of this rank's shard if `sharded`.
        target: (B,) the place of each image's own class; (G * B,) of all ranks' images if `sharded`, -1 for
            classes of other ranks.
        sharded: Whether other ranks hold other classes.
    """

    weight: Tensor
    target: Tensor
    sharded: bool


@MODELS.register_module()
class InstanceClassifier(BaseModule):
    """The class weights of PIC: all of them, or those that were used lately.

    | `num_negatives` | `shard` | rows                                        | who steps them     |
    |-----------------|---------|---------------------------------------------|--------------------|
    | None            | False   | `weight`, an ordinary parameter (the paper) | the run's optimizer |
    | None            | True    | row i on rank i mod G, all in every softmax | `InstanceRowsHook` |
    | K               | any     | softmax over the batch and the K last images | `InstanceRowsHook` |

    In the last two the rows are no parameters: DDP sends nothing of them, and the hook repeats the step of
    the run's SGD on them, with its learning rate, momentum and weight decay. With K neither time nor memory
    on the device grows with the data set, but for the shard where `storage='device'`.

    Args:
        in_channels: D, size of an embedding.
        num_instances: N, images of the training set.
        temperature: t of the softmax; the released code's parser has 0.07, its recipes 0.2.
        num_negatives: K, or `None` for the softmax over all images.
        init_recent: `none`: the list of recent images starts empty; `all`: with all images.
        correction: What rows that were not used are owed: `exact`, `closed_form` (for constant learning
            rates) or `none`; see `IdleCohorts`.
        shard: Spread the rows over the ranks.
        storage: `device`, or `host`: rows that no step needs lie in the memory of the host.
        folder: With `host`: they lie in files there.
        save_classifier: Put the rows into checkpoints. Without, training cannot be resumed.
        init_std: Rows start from N(0, init_std).
        init_cfg: Weight initialisation of the mm family.

    Attributes:
        weight: (N, D), or `None` where `rows` has them.
        rows: `InstanceRows`, or `None`.

    Raises:
        ValueError: Options that do not fit together.
    """

    weight: nn.Parameter | None
    rows: InstanceRows | None

    def __init__(
        self,
        in_channels: int,
        num_instances: int,
        *,
        temperature: float = 0.2,
        num_negatives: int | None = None,
        init_recent: Literal["none", "all"] = "none",
        correction: Correction = "exact",
        shard: bool = False,
        storage: Literal["device", "host"] = "device",
        folder: str | Path | None = None,
        save_classifier: bool = True,
        init_std: float = 0.01,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if in_channels < 1 or num_instances < 1 or temperature <= 0:
            raise ValueError(
                "An instance classifier needs in_channels >= 1, num_instances >= 1 (the size of the training "
                f"set) and temperature > 0, got {in_channels}, {num_instances} and {temperature}."
            )
        self.in_channels, self.num_instances = in_channels, num_instances
        self.temperature, self.save_classifier = temperature, save_classifier
        if num_negatives is None and not shard and storage == "device":
            self.weight = nn.Parameter(torch.empty(num_instances, in_channels))
            nn.init.normal_(self.weight, std=init_std)
            self.rows = None
            return
        self.register_parameter("weight", None)
        self.rows = InstanceRows(
            num_instances,
            in_channels,
            num_negatives=num_negatives,
            init_recent=init_recent,
            correction=correction,
            shard=shard,
            storage=storage,
            folder=folder,
            init_std=init_std,
        )
        self.rows.may_be_absent = not save_classifier

    def forward(self, index: Tensor) -> InstanceClasses:
        """The classes for a batch.

        Args:
            index: (B,) int64 dataset positions of this rank's images, as many on every rank.

        Raises:
            ValueError: An image that has no row.
        """
        if self.rows is not None:
            weight, target = self.rows.begin(index)
            return InstanceClasses(weight, target, self.rows.shard)
        check_instances(index, self.num_instances)
        return InstanceClasses(self.weight, index, False)

    def class_weights(self) -> Tensor:
        """(N, D) all weights, up to date, on the host: for exports. Every rank has to call it.

        With `shard` ranks other than the first get (0, D).
        """
        if self.rows is None:
            return self.weight.detach().cpu()
        return self.rows.all_rows()[0]
