"""TestBestHook: the epoch that was best on the validation images, tested on others."""

from __future__ import annotations

import math
from pathlib import Path

from mmengine.dist import barrier
from mmengine.hooks import Hook

from mmssl.convert.checkpoint_file import load_weights_file
from mmssl.engine.hooks.checkpoint_hook import CheckpointHook
from mmssl.models.algorithms.base import bare_model
from mmssl.registry import HOOKS


@HOOKS.register_module()
class TestBestHook(Hook):
    """Run the test loop of the config with the weights of the best epoch, once, at the end.

    before_train    refuse a run without test images or without a best checkpoint   <-
    all epochs
    after_train     load the best weights, test, put the last weights back          <-

    The best epoch is that of `CheckpointHook(save_best=...)`. `BestEpochHook` writes the figures to
    `result.json`.
    """

    __test__ = False  # the name is no reason for pytest to collect it
    # Behind CheckpointHook, which takes up the best checkpoint of a resumed run.
    priority = "LOWEST"

    def before_train(self, runner) -> None:
        """Check that the run can end with a test.

        Raises:
            ValueError: There is no test set, or nothing says what is best.
        """
        hook = _checkpoint_hook(runner)
        if runner._test_loop is None or hook is None or not hook.save_best:
            raise ValueError(
                "TestBestHook needs test_dataloader, test_cfg and test_evaluator, and "
                "default_hooks.checkpoint.save_best for the figure that says which epoch is best."
            )

    def after_train(self, runner) -> None:
        """Test the best epoch, unless the run was asked to stop early.

        Raises:
            FileNotFoundError: The best checkpoint is gone.
        """
        if runner.train_loop.stop_training:
            return
        barrier()  # the first process may still be writing the best checkpoint
        hook = _checkpoint_hook(runner)
        path = Path(str(hook.best_ckpt_path))
        if not path.is_file():
            raise FileNotFoundError(
                f"The best checkpoint {path} is gone, so that nothing can be tested. Keep the work "
                "directory as it is while a run goes on."
            )
        model = bare_model(runner.model)
        last = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        model.load_state_dict(load_weights_file(path)["state_dict"])
        metrics = runner.test_loop.run()
        model.load_state_dict(last)
        # a class that no test image shows has no figure
        figures = ", ".join(
            f"{name} {value:.2f}" for name, value in metrics.items() if math.isfinite(value)
        )
        runner.logger.info(f"Test of {path.name}: {figures}.")


def _checkpoint_hook(runner) -> CheckpointHook | None:
    return next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)
