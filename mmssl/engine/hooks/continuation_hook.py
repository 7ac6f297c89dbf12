"""ContinuationHook: goes on with the weights of another run, in the middle of the schedules."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from torch import nn

from mmssl.convert.checkpoint_file import load_weights_file
from mmssl.engine.schedulers import WarmupCosineLR
from mmssl.registry import HOOKS


@HOOKS.register_module()
class ContinuationHook(Hook):
    """Continue a run of a simpler method, as EsViT adds its region task to a run with views alone.

    before_train        if this run is at its beginning (and not resumed):      <-
                        weights, centers and twin of the checkpoint; its epoch; the schedules as they
                        stand there. The optimizer starts with empty moments.

    Parts that the checkpoint lacks as a whole (the head and the center of the regions) keep their
    initialisation, in which student and teacher are equal. Everything else must fit.

    Args:
        checkpoint: A checkpoint of ours; official ones are converted first.
        epoch: Where the schedules go on; default the epoch of the checkpoint.
        trust_pickle: Allow a pickle to run code.
    """

    # before the twins are looked at, which start as copies if they were never updated
    priority = "VERY_HIGH"

    def __init__(
        self, checkpoint: str, *, epoch: int | None = None, trust_pickle: bool = False
    ) -> None:
        self.checkpoint = checkpoint
        self.epoch = epoch
        self.trust_pickle = trust_pickle

    def before_train(self, runner) -> None:
        """Load, and move epoch, iteration and schedules.

        Raises:
            ValueError: No epoch is known, it lies outside of the run, or a schedule cannot be moved.
            RuntimeError: Weights that do not fit.
        """
        if runner.iter > 0:
            return
        content = load_weights_file(self.checkpoint, trust_pickle=self.trust_pickle)
        epoch = self.epoch if self.epoch is not None else content.get("meta", {}).get("epoch")
        if epoch is None or not 0 < epoch < runner.max_epochs:
            raise ValueError(
                f"{self.checkpoint} cannot be continued at epoch {epoch} of {runner.max_epochs}: name "
                "an epoch between them with ContinuationHook(epoch=...)."
            )
        schedulers = runner.param_schedulers
        if not all(isinstance(scheduler, WarmupCosineLR) for scheduler in schedulers):
            raise ValueError("ContinuationHook can only move schedules of the type WarmupCosineLR.")
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        fresh = load_parts(model, content["state_dict"])
        iteration = epoch * len(runner.train_dataloader)
        runner.train_loop._epoch, runner.train_loop._iter = epoch, iteration
        for scheduler in schedulers:
            scheduler.jump_to(iteration)
        runner.logger.info(
            f"Continuing {self.checkpoint} at epoch {epoch}; not in it, so newly initialised: "
            f"{', '.join(fresh) or 'nothing'}."
        )


def load_parts(model: nn.Module, state: dict) -> list[str]:
    """Load all of `state`; only whole children of `model` or of its twin may be missing.

    Returns:
        Names of the children that are missing.

    Raises:
        RuntimeError: Anything else does not fit.
    """

    def part(key: str) -> str:
        names = key.split(".")
        return ".".join(names[:2]) if names[0] == "twin" else names[0]

    there = {part(key) for key in state}
    own = model.state_dict()
    fresh = {part(key) for key in own} - there
    model.load_state_dict({**{k: v for k, v in own.items() if part(k) in fresh}, **state})
    return sorted(fresh)
