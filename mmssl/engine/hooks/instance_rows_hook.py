"""InstanceRowsHook: repeats the optimizer's step on the rows of an instance classifier."""

from __future__ import annotations

import logging
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log
from torch.optim import SGD

from mmssl.models.algorithms.base import bare_model
from mmssl.models.heads import InstanceClassifier
from mmssl.registry import HOOKS


@HOOKS.register_module()
class InstanceRowsHook(Hook):
    """Step the rows of every `InstanceClassifier` that are no parameters, exactly when the optimizer steps.

    after_load_checkpoint   refuse to resume without the rows; leave them as they are if a file of weights has
                            none and `save_classifier=False`                                     <-
    before_train            a new run begins with the weights of the rows alone; find the settings of the
                            optimizer that apply to them; from now on:                          <-
        optimizer.step()        the rows that were in the softmax take the same step of SGD      <-
    after_train_iter        no step: keep the gradients (accumulation), or drop them with the batch (a loss
                            that was not finite, a step that the scaler of float16 skipped)      <-
    before_save_checkpoint  leave classifiers out that are not to be saved, and their momenta    <-
    after_train             leave the optimizer as it was

    The settings are those of the group that the first weight of the backbone is in, at the moment of the
    step: learning rate, momentum, weight decay. A loss scale (float16) is divided out of the gradients; a
    clipping of gradients does not reach the rows. A classifier whose rows are an ordinary parameter needs the
    hook for `save_classifier=False` only.
    """

    # before hooks that write checkpoints
    priority = "HIGH"
    steps_instance_rows = True

    def before_train(self, runner) -> None:
        """Register with the optimizer.

        Raises:
            ValueError: No `InstanceClassifier`; rows to step and an optimizer other than plain SGD, or a
                fused one under a loss scale.
        """
        self._handle = None
        heads = list(_heads(runner).values())
        if not heads:
            raise ValueError(
                "InstanceRowsHook: the model has no InstanceClassifier. Leave the hook out of custom_hooks."
            )
        self.rows = [head.rows for head in heads if head.rows is not None]
        self.stepped = False
        if (
            runner.iter == 0
        ):  # of a file that was only loaded; its other momenta are not taken over either
            for rows in self.rows:
                rows.restart()
        if self.rows:
            self._register(runner)

    def _register(self, runner) -> None:
        model = bare_model(runner.model)
        self.wrapper = runner.optim_wrapper
        self.group = _group_of(self.wrapper.optimizer, model.backbone)
        if self.group.get("fused") and getattr(self.wrapper, "loss_scaler", None) is not None:
            raise ValueError(
                "With optimizer=dict(fused=True) and a loss scale (float16) nobody is told of steps that are "
                "skipped, and the rows of the classifier would run ahead. Leave out fused, or train in "
                "bfloat16 without loss scale."
            )
        if self.wrapper.clip_grad_kwargs:
            print_log(
                "clip_grad clips the gradients of the network, not those of the classifier's rows, which are "
                "no parameters.",
                logger="current",
                level=logging.WARNING,
            )
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
        """Take the rows of classifiers with `save_classifier=False` out, with momenta and gradients."""
        for name, head in _heads(runner).items():
            if head.save_classifier:
                continue
            for state in (checkpoint["state_dict"], runner.pending_gradients):
                for key in [key for key in state if key.startswith(f"{name}.")]:
                    del state[key]
            groups = runner.optim_wrapper.optimizer.param_groups
            trained = [parameter for group in groups for parameter in group["params"]]
            for place, parameter in enumerate(trained):
                if parameter is head.weight and "optimizer" in checkpoint:
                    checkpoint["optimizer"]["state"].pop(place, None)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Deal with files that were written with `save_classifier=False`, or with another kind of classifier.

        Raises:
            ValueError: Resuming without the rows, or with rows that were a parameter and are none now.
        """
        state = checkpoint.get("state_dict", checkpoint)
        for name, head in _heads(runner).items():
            if runner._resume and head.rows is not None and f"{name}.weight" in state:
                raise ValueError(
                    f"The class weights of the checkpoint are a parameter ({name}.weight), here "
                    "num_negatives or shard takes them out of the optimizer: training cannot go on where it "
                    "stopped. Resume with the options of the file, or start a new run from its weights "
                    "with load_from."
                )
            if any(key.removeprefix("module.").startswith(f"{name}.") for key in state):
                continue
            if runner._resume:
                raise ValueError(
                    "The checkpoint was written with save_classifier=False: it lacks the class weights, and "
                    "training cannot go on where it stopped. Start a new run from its weights with load_from."
                )
            if not head.save_classifier:
                state |= {f"{name}.{key}": value for key, value in head.state_dict().items()}

    def after_train(self, runner) -> None:
        """Leave the optimizer as it was."""
        if self._handle is not None:
            self._handle.remove()


def _heads(runner) -> dict[str, InstanceClassifier]:
    """The classifiers of the model by name."""
    model = bare_model(runner.model)
    return {
        name: part for name, part in model.named_modules() if isinstance(part, InstanceClassifier)
    }


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
