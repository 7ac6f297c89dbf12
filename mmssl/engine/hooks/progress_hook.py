"""ProgressHook: tells the algorithm where the run stands."""

from __future__ import annotations

from mmengine.hooks import Hook

from mmssl.convert.known_colours import colour_fault
from mmssl.engine.hooks.needed_hooks import missing_hook
from mmssl.models.algorithms.base import BaseAlgorithm, bare_model
from mmssl.registry import HOOKS
from mmssl.structures import Progress


@HOOKS.register_module()
class ProgressHook(Hook):
    """Set `algorithm.progress` before each iteration.

    before_train        refuse a twin that nothing would ever update, prototypes that nothing would
                        ever make, rows that nothing would step, a bank of another size; warn of
                        pretrained weights that know other colours
    for each iteration
        before_train_iter   algorithm.progress = Progress(...)      <-
        train_step

    Idle for models that are no `BaseAlgorithm` (detectors, segmentors).
    """

    priority = "VERY_HIGH"

    def before_train(self, runner) -> None:
        """Check that twins, prototypes and rows have a hook that keeps them, and every image its own row.

        Raises:
            RuntimeError: The model holds a `MomentumTwin` but the run has no `MomentumUpdateHook`, or
                `Prototypes` but no hook with `fills_prototypes = True`, or `InstanceRows` or a classifier
                that is not to be saved but no hook with `steps_instance_rows = True`.
            ValueError: The method keeps something for every image, but for another number of them.
        """
        model = bare_model(runner.model)
        self.algorithm = model if isinstance(model, BaseAlgorithm) else None
        fault = missing_hook(model, runner.hooks)
        if fault is not None:
            raise RuntimeError(fault)
        if self.algorithm is not None:
            self._check_rows(self.algorithm, len(runner.train_dataloader.dataset))
            known = getattr(self.algorithm.backbone, "known_colours", None)
            fault = colour_fault(known, self.algorithm.data_preprocessor)
            if fault is not None:
                runner.logger.warning(fault)

    @staticmethod
    def _check_rows(algorithm: BaseAlgorithm, images: int) -> None:
        rows = getattr(algorithm, "num_samples", None)
        if rows not in (None, images):
            option = f"model.{getattr(algorithm, 'samples_option', 'num_samples')}"
            raise ValueError(
                f"{option} is {rows}, but there are {images} training images: "
                f"{type(algorithm).__name__} has one row for each. Set {option}={images}."
            )

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        """Set the progress of the iteration that begins."""
        if self.algorithm is not None:
            self.algorithm.progress = Progress(
                runner.iter, runner.max_iters, runner.epoch, runner.max_epochs
            )
