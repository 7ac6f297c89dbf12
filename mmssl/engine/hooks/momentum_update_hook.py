"""MomentumUpdateHook: moves every momentum twin once per optimizer step."""

from __future__ import annotations

from mmengine.hooks import Hook

from mmssl.models.algorithms.base import bare_model
from mmssl.models.momentum_twin import MomentumTwin
from mmssl.registry import HOOKS


@HOOKS.register_module()
class MomentumUpdateHook(Hook):
    """Update all `MomentumTwin`s of the model at the moment each of them declares.

    before_train            a fresh twin copies its owner (after loading of weights)
    for each iteration
        before_train_iter   twins `before_forward`, if the iteration before ended with a step,
                            and before the first one, unless a twin is still that copy      <-
        train_step          loss, backward, maybe optimizer step
        after_train_iter    twins `after_step`, if this iteration stepped                       <-

    Schedules count optimizer steps, not iterations, so a run that accumulates over A batches moves
    its twins exactly as a run with batches A times larger. Both moments use the index that the
    official codes use: the number of finished steps before the forward pass (`before_forward`), and
    the number of steps before the one just made (`after_step`).
    """

    priority = "HIGH"

    def before_train(self, runner) -> None:
        """Find the twins and their owners; copy the owner into twins that were never updated."""
        model = bare_model(runner.model)
        self.twins: list[tuple] = [
            (owner, twin)
            for owner in model.modules()
            for twin in owner.children()
            if isinstance(twin, MomentumTwin)
        ]
        for owner, twin in self.twins:
            if int(twin.num_updates) == 0:
                twin.sync(owner)
        self.accumulation = runner.optim_wrapper._accumulative_counts
        self.total = -(-runner.max_iters // self.accumulation)

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        """Move the twins whose method updates before the forward pass."""
        if runner.optim_wrapper.should_update():
            self._update(runner, "before_forward", step=-(-runner.iter // self.accumulation))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Move the twins whose method updates after the optimizer step."""
        if runner.optim_wrapper.should_update():
            self._update(runner, "after_step", step=runner.iter // self.accumulation)

    def _update(self, runner, moment: str, step: int) -> None:
        for owner, twin in self.twins:
            # at the start of a run a twin without updates equals its owner: nothing to move
            still_equal = runner.iter == 0 and int(twin.num_updates) == 0
            if twin.update_at == moment and not (moment == "before_forward" and still_equal):
                momentum = twin.update(owner, step, self.total)
                runner.message_hub.update_scalar("train/twin_momentum", momentum)
