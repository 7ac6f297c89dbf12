"""InstanceClassifier: one weight vector for every training image.

Parametric Instance Classification for Unsupervised Visual Feature Learning (PIC), 2020, arXiv 2006.14618.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmssl.models.memories.idle_cohorts import Correction
from mmssl.models.memories.instance_rows import InstanceRows
from mmssl.models.memories.shard_state import fresh_state
from mmssl.ops.collectives import world_size
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

    The weights of the first are a start of the others: a checkpoint of it loads into them, as a new run.

    In the last two the rows are no parameters: DDP sends nothing of them, and the hook repeats the step of
    the run's SGD on them, with its learning rate, momentum and weight decay. With K neither time nor memory
    on the device grows with the data set, but for the shard where `storage='device'`.

    Args:
        in_channels: D, size of an embedding.
        num_instances: N, images of the training set.
        temperature: t of the softmax; the released code's parser has 0.07, its recipes 0.2.
        cosine: Logits are cosines over t; else plain products over t, as of a linear classifier without bias
            (Exemplar-CNN, with a temperature of 1).
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
        ValueError: Options that do not fit together, or that have no effect together.
    """

    weight: nn.Parameter | None
    rows: InstanceRows | None

    def __init__(
        self,
        in_channels: int,
        num_instances: int,
        *,
        temperature: float = 0.2,
        cosine: bool = True,
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
        self.temperature, self.cosine = temperature, cosine
        self.save_classifier = save_classifier
        _check_effect(num_negatives, init_recent, correction, storage, folder)
        if num_negatives is None and not shard:
            self.weight = nn.Parameter(torch.empty(num_instances, in_channels))
            nn.init.normal_(self.weight, std=init_std)
            self.rows = None
            return
        if storage == "host" and not shard and world_size() > 1:
            print_log(
                "Every rank keeps all rows of the classifier in the memory of its host, and rank 0 sends "
                "them to the others at the start: storage='host' on several ranks wants shard=True.",
                logger="current",
                level=logging.WARNING,
            )
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

    def _load_from_state_dict(
        self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
    ) -> None:
        own, sampled = prefix + "weight", prefix + "rows.weight"
        if self.rows is not None and own in state_dict and sampled not in state_dict:
            recent = None if self.rows.recent is None else self.rows.recent.start()
            started = fresh_state(state_dict.pop(own), self.rows.cohorts.correction, recent)
            state_dict.update({f"{prefix}rows.{name}": value for name, value in started.items()})
        elif self.rows is None and own not in state_dict and sampled in state_dict:
            error_msgs.append(
                f"The file has the rows of a sampled or sharded classifier ({prefix}rows.*), which may owe "
                "steps of the optimizer; here they are a parameter. Set num_negatives (or shard=True) as in "
                "the file, or have tools/convert_checkpoint.py bring them up to date (--to official, and "
                "back)."
            )
            return
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )

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


def _check_effect(
    num_negatives: int | None,
    init_recent: str,
    correction: str,
    storage: str,
    folder: str | Path | None,
) -> None:
    """Complain about options of a sampled softmax where there is none."""
    if num_negatives is not None:
        return
    given = dict(
        init_recent=init_recent != "none",
        correction=correction != "exact",
        storage=storage != "device",
        folder=folder is not None,
    )
    without = [name for name, is_given in given.items() if is_given]
    if without:
        raise ValueError(
            f"{', '.join(without)} of an InstanceClassifier is for a sampled softmax: without num_negatives "
            "every step reads all rows. Set num_negatives, or leave it out."
        )
