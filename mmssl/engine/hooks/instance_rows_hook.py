"""InstanceRowsHook: repeats the optimizer's step on the rows of an instance classifier."""

from __future__ import annotations

import logging
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from torch.optim import SGD

from mmssl.models.heads import InstanceClassifier
from mmssl.models.memories import InstanceRows
from mmssl.registry import HOOKS


@HOOKS.register_module()
class InstanceRowsHook(Hook):
    """Step the rows of every `InstanceClassifier` that are no parameters, exactly when the optimizer steps.

    before_train            find the rows and the settings of the optimizer that apply to them; from now on:
        optimizer.step()        the rows that were in the softmax take the same step of SGD      <-
    after_train_iter        no step: keep the gradients (accumulation), or drop them with the batch (a loss
                            that was not finite, a step that the scaler of float16 skipped)      <-
    before_save_checkpoint  leave classifiers out that are not to be saved                       <-
    after_train             leave the optimizer as it was

    The settings are those of the group that the first weight of the backbone is in, at the moment of the
    step: learning rate, momentum, weight decay. A loss scale (float16) is divided out of the gradients; a
    clipping of gradients does not reach the rows.
    """

    steps_instance_rows = True

    def before_train(self, runner) -> None:
        """Register with the optimizer.

        Raises:
            ValueError: No classifier with rows to step, or an optimizer other than plain SGD.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self.rows = [part for part in model.modules() if isinstance(part, InstanceRows)]
        if not self.rows:
            raise ValueError(
                f"InstanceRowsHook: {type(model).__name__} has no classifier with rows to step. It is for an "
                "InstanceClassifier with num_negatives or shard=True; without them the rows are an ordinary "
                "parameter, and the hook has to go."
            )
        self.wrapper = runner.optim_wrapper
        self.group = _group_of(self.wrapper.optimizer, model.backbone)
        if self.wrapper.clip_grad_kwargs:
            print_log(
                "clip_grad clips the gradients of the network, not those of the classifier's rows, which are "
                "no parameters.",
                logger="current",
                level=logging.WARNING,
            )
        self.stepped = False
        self._handle = self.wrapper.optimizer.register_step_post_hook(self._step)

    def _step(self, *_: Any) -> None:
        scaler = getattr(self.wrapper, "loss_scaler", None)
        for rows in self.rows:
            rows.step(
                float(self.group["lr"]),
                momentum=self.group["momentum"],
                weight_decay=self.group["weight_decay"],
                loss_scale=1.0 if scaler is None else scaler.get_scale(),
            )
        self.stepped = True

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Look after gradients that no step has used."""
        for rows in self.rows:
            if runner.optim_wrapper.should_update() and not self.stepped:
                rows.discard()
            else:
                rows.keep_gradient()
        self.stepped = False

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Take the rows of classifiers with `save_classifier=False` out."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        for name, part in model.named_modules():
            if isinstance(part, InstanceClassifier) and not part.save_classifier:
                state = checkpoint["state_dict"]
                for key in [key for key in state if key.startswith(f"{name}.")]:
                    del state[key]

    def after_train(self, runner) -> None:
        """Leave the optimizer as it was."""
        self._handle.remove()


def _group_of(optimizer, backbone) -> dict[str, Any]:
    """The parameter group of the backbone's first weight.

    Raises:
        ValueError: The optimizer is not plain SGD, or trains no weight of the backbone.
    """
    group = None
    if type(optimizer) is SGD:
        weights = [weight for weight in backbone.parameters() if weight.requires_grad]
        first = next((weight for weight in weights if weight.ndim > 1), None)
        held = (
            group
            for group in optimizer.param_groups
            if any(weight is first for weight in group["params"])
        )
        group = next(held, None)
    if group is None or group["nesterov"] or group["dampening"] or group["maximize"]:
        raise ValueError(
            "The rows of an instance classifier follow torch's SGD (momentum and weight decay, without "
            "nesterov, dampening or maximize) that trains the backbone; this run has "
            f"{type(optimizer).__name__}. What rows are owed that were not sampled is known for SGD only: "
            "use optimizer=dict(type='SGD', ...), or num_negatives=None and shard=False, with which the rows "
            "are an ordinary parameter."
        )
    return group
