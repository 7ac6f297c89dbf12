"""ContinuationHook: goes on with the weights of another run, in the middle of the schedules."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.hooks import Hook
from torch import Tensor, nn

from mmssl.convert.checkpoint_file import load_weights_file
from mmssl.engine.schedulers import WarmupCosineLR
from mmssl.models.algorithms.base import bare_model
from mmssl.registry import HOOKS

REGIONS = ("region_head", "region_center", "twin.region_head")


@HOOKS.register_module()
class ContinuationHook(Hook):
    """Continue a run of a simpler method, as EsViT adds its region task to a run with views alone.

    before_train        if this run is at its beginning (and not resumed):      <-
                        weights, centers and twin of the checkpoint; its epoch; the schedules as they
                        stand there; the loss scale of float16. The optimizer starts with empty moments.

    Parts that only the new run has keep their initialisation, in which student and teacher are equal.

    Args:
        checkpoint: A checkpoint of ours; official ones are converted first (tools/convert_checkpoint.py).
        epoch: Where the schedules go on; default the epoch of the checkpoint.
        new_parts: Children of the model (and of its twin) that the checkpoint may lack as a whole.
        trust_pickle: Allow a pickle to run code.
    """

    # before the twins are looked at, which start as copies if they were never updated
    priority = "VERY_HIGH"

    def __init__(
        self,
        checkpoint: str,
        *,
        epoch: int | None = None,
        new_parts: Sequence[str] = REGIONS,
        trust_pickle: bool = False,
    ) -> None:
        self.checkpoint = checkpoint
        self.epoch = epoch
        self.new_parts = set(new_parts)
        self.trust_pickle = trust_pickle

    def before_train(self, runner) -> None:
        """Load, and move epoch, iteration and schedules.

        Raises:
            ValueError: No epoch is known, it lies outside of the run, a schedule cannot be moved, or the
                checkpoint lacks other parts.
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
        model = bare_model(runner.model)
        fresh = self._load(model, content.get("state_dict", {}))
        iteration = epoch * len(runner.train_dataloader)
        runner.train_loop._epoch, runner.train_loop._iter = epoch, iteration
        for scheduler in schedulers:
            scheduler.jump_to(iteration)
        wrapper = runner.optim_wrapper
        wrapper.initialize_count_status(runner.model, iteration, runner.max_iters)
        scale = content.get("optimizer", {}).get("loss_scaler")
        if scale and hasattr(wrapper, "loss_scaler"):
            wrapper.loss_scaler.load_state_dict(scale)
        runner.logger.info(
            f"Continuing {self.checkpoint} at epoch {epoch}; not in it, so newly initialised: "
            f"{', '.join(fresh) or 'nothing'}."
        )

    def _load(self, model: nn.Module, state: dict[str, Tensor]) -> list[str]:
        """Load all of `state`; names of the new parts that it lacks."""
        own = model.state_dict()
        missing = {_part(key) for key in own} - {_part(key) for key in state}
        if missing - self.new_parts:
            raise ValueError(
                f"{self.checkpoint} lacks {', '.join(sorted(missing - self.new_parts))}, so the run that "
                "it comes from cannot be continued. It must hold student, twin and center; only "
                f"{', '.join(sorted(self.new_parts))} may be new."
            )
        model.load_state_dict({**{k: v for k, v in own.items() if _part(k) in missing}, **state})
        if getattr(model, "twin", None) is not None:
            model.twin.num_updates.clamp_(min=1)  # it is a teacher, not to be overwritten
        return sorted(missing)


def _part(key: str) -> str:
    """The child of the model, or of its twin, that a tensor belongs to."""
    names = key.split(".")
    return ".".join(names[:2]) if names[0] == "twin" else names[0]
