"""ProgressHook: tells the algorithm where the run stands."""

from __future__ import annotations

from mmengine.hooks import Hook

from mmssl.convert.known_colours import colour_fault
from mmssl.engine.hooks.momentum_update_hook import MomentumUpdateHook
from mmssl.models.algorithms.base import BaseAlgorithm, bare_model
from mmssl.models.heads import InstanceClassifier
from mmssl.models.memories import InstanceRows, Prototypes
from mmssl.models.momentum_twin import MomentumTwin
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
        has_twin = any(isinstance(module, MomentumTwin) for module in model.modules())
        if has_twin and not any(isinstance(hook, MomentumUpdateHook) for hook in runner.hooks):
            raise RuntimeError(
                "The model holds a MomentumTwin but no MomentumUpdateHook moves it. Inherit "
                "configs/_base_/default_runtime.py or add dict(type='MomentumUpdateHook') to "
                "default_hooks."
            )
        waits = any(isinstance(module, Prototypes) for module in model.modules())
        if waits and not any(getattr(hook, "fills_prototypes", False) for hook in runner.hooks):
            raise RuntimeError(
                f"{type(model).__name__} learns from prototypes, but no hook of the run makes them: it "
                "would be MoCo, or go on with those of the loaded weights. Add "
                "dict(type='ClusterHook', views=...) to custom_hooks (see configs/hcsc), or a hook of your "
                "own with fills_prototypes = True."
            )

        stands = any(isinstance(module, InstanceRows) for module in model.modules())
        if stands and not any(getattr(hook, "steps_instance_rows", False) for hook in runner.hooks):
            raise RuntimeError(
                f"The class weights of {type(model).__name__} are no parameters, and no hook steps them. Add "
                "dict(type='InstanceRowsHook') to custom_hooks."
            )

        left_out = any(
            isinstance(part, InstanceClassifier) and not part.save_classifier
            for part in model.modules()
        )
        if left_out and not any(
            getattr(hook, "steps_instance_rows", False) for hook in runner.hooks
        ):
            raise RuntimeError(
                "save_classifier=False has no effect here: no hook leaves the class weights out of "
                "checkpoints. Add dict(type='InstanceRowsHook') to custom_hooks."
            )

        rows, images = (
            getattr(self.algorithm, "num_samples", None),
            len(runner.train_dataloader.dataset),
        )
        if rows not in (None, images):
            option = f"model.{getattr(self.algorithm, 'samples_option', 'num_samples')}"
            raise ValueError(
                f"{option} is {rows}, but there are {images} training images: "
                f"{type(self.algorithm).__name__} has one row for each. Set {option}={images}."
            )
        if self.algorithm is not None:
            known = getattr(self.algorithm.backbone, "known_colours", None)
            fault = colour_fault(known, self.algorithm.data_preprocessor)
            if fault is not None:
                runner.logger.warning(fault)

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        """Set the progress of the iteration that begins."""
        if self.algorithm is not None:
            self.algorithm.progress = Progress(
                runner.iter, runner.max_iters, runner.epoch, runner.max_epochs
            )
