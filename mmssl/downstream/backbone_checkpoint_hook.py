"""The pretrained backbone of a transfer run: required, loaded completely, recorded."""

from __future__ import annotations

import json
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner
from torch import nn

from mmssl.convert.transfer_load import (
    HOW_TO_GIVE_A_BACKBONE,
    TransferLoad,
    check_load_from,
    load_backbone_into,
)
from mmssl.downstream.preflight import frozen_norms, input_faults
from mmssl.engine.hooks.checkpoint_hook import latest_checkpoint
from mmssl.models.algorithms.base import bare_model
from mmssl.registry import HOOKS


@HOOKS.register_module()
class BackboneCheckpointHook(Hook):
    """Give `load_from` of a transfer config its meaning: the exported backbone to start from.

    ================  ==========================================================================
    `load_from`       at the start of training
    ================  ==========================================================================
    "REQUIRED"        an error that says how to export a backbone (what the configs come with)
    a path            loaded into the backbone (and the C4 RoI head); anything less is an error
    None              random initialisation, on purpose; a warning in the log
    ================  ==========================================================================

    Resumed runs, validation and testing are left alone: there `load_from` is a whole checkpoint.
    What was loaded is written to `backbone.json` in the work directory. If the file says how the
    backbone was pretrained, images of another channel order or range are an error; frozen batch norm
    is a warning.

    Call points::

        before_run     takes `load_from` away from the runner, whose own loading is lenient
        (model.init_weights, or resume)
        before_train   loads the backbone
    """

    priority = "VERY_HIGH"

    def __init__(self) -> None:
        self._path: str | None = None

    def before_run(self, runner: Runner) -> None:
        """Find out what is wanted, before anything is trained."""
        check_load_from(runner._load_from)
        training = isinstance(runner._train_loop, BaseLoop)
        if not training:
            return
        if runner._resume:
            if runner._load_from is None and latest_checkpoint(runner.work_dir) is None:
                raise ValueError(
                    f"Nothing to resume from in {runner.work_dir!r}, and no backbone to start from. "
                    "Leave --resume out and name one. " + HOW_TO_GIVE_A_BACKBONE
                )
            return
        self._path, runner._load_from = runner._load_from, None

    def before_train(self, runner: Runner) -> None:
        """Load the backbone over the random initialisation."""
        if runner._resume:
            return
        if self._path is None:
            runner.logger.warning(
                "load_from=None: the backbone starts from RANDOM weights (baseline)."
            )
            record = dict(source=None)
        else:
            model = bare_model(runner.model)
            trust_pickle = runner.cfg.get("trust_pickle", False)
            loaded = load_backbone_into(model, self._path, trust_pickle=trust_pickle)
            runner.logger.info(str(loaded))
            self._check_fit(runner, model, loaded)
            record = loaded.record()
        if is_main_process():
            Path(runner.work_dir, "backbone.json").write_text(
                json.dumps(record, indent=2, default=str)
            )

    @staticmethod
    def _check_fit(runner: Runner, model: nn.Module, loaded: TransferLoad) -> None:
        faults = input_faults(model.data_preprocessor, loaded.meta)
        if faults:
            raise ValueError(
                f"{loaded.parts['backbone'].source} does not fit this config: "
                + "; ".join(faults)
                + "."
            )
        frozen = frozen_norms(model.backbone)
        if frozen:
            runner.logger.warning(
                f"{len(frozen)} batch norms of the backbone are frozen (backbone.{frozen[0]}, ...). "
                "Self-supervised weights need them trained: set backbone.norm_eval=False, "
                "backbone.frozen_stages=-1 and norm_cfg.requires_grad=True."
            )
