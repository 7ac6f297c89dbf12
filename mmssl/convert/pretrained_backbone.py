"""Continued pretraining and transfer from any backbone weights: one key of a config."""

from __future__ import annotations

from pathlib import Path

from mmengine.logging import print_log
from mmengine.model import update_init_info
from torch import nn

from mmssl.convert.checkpoint_file import load_weights_file
from mmssl.convert.known_colours import known_colours
from mmssl.convert.layouts import Branch
from mmssl.convert.load_backbone import load_backbone
from mmssl.convert.transfer_load import REQUIRED
from mmssl.convert.weights_record import weights_record
from mmssl.registry import WEIGHT_INITIALIZERS


def check_checkpoint(checkpoint: str) -> None:
    """Raise if a run was started without a backbone that exists, before work is done.

    Args:
        checkpoint: As `PretrainedBackbone` takes it.

    Raises:
        FileNotFoundError: It is a path, and there is no such file.
        ValueError: It still is the placeholder of the config.
    """
    if checkpoint == REQUIRED:
        raise ValueError(
            "This config evaluates a pretrained backbone, and none was given. Name a checkpoint with "
            "--cfg-options model.backbone.init_cfg.checkpoint=FILE; for the baseline of random "
            "initialisation say so with --cfg-options model.backbone.init_cfg=None."
        )
    if "://" not in checkpoint and not Path(checkpoint).expanduser().is_file():
        raise FileNotFoundError(
            f"The checkpoint {checkpoint} of model.backbone does not exist (looked from {Path.cwd()})."
        )


@WEIGHT_INITIALIZERS.register_module()
class PretrainedBackbone:
    """Initialise a backbone from a file of any common layout, or fail.

    Written into the algorithm, which works for every backbone (also for borrowed ones whose
    `init_weights` follows rules of its own), or into the backbone itself:

        model = dict(type='CARE', init_cfg=dict(type='PretrainedBackbone', checkpoint='r50.pth'), ...)
        model = dict(backbone=dict(type='mmdet.ResNet', ...,
                                   init_cfg=dict(type='mmssl.PretrainedBackbone', checkpoint='r50.pth')))

    The weights are copied after every other initialisation, momentum twins are synchronised after
    that (`BaseAlgorithm.init_weights`). The load report is logged; unlike mmengine's `Pretrained`,
    a file that does not fit is an error. Position tables of another window are resized, and norms of
    a Swin's earlier maps, which no pretraining has, stay as initialised; the report names both. The
    backbone keeps a `weights_record`: file, hashes, branch and epoch of the pretraining, for results; and
    `known_colours`, which `ProgressHook` compares with those of the run.

    Args:
        checkpoint: A file, URL or `torchvision://name`: of torchvision, timm, mmdet, mmseg, an official
            self-supervised checkpoint, one of ours, or an export. "REQUIRED", as evaluation configs have
            it, stands for the one that has to be named.
        branch: `online`, `twin`, or `auto`: what the method publishes (see `mmssl.convert.load_backbone`).
        prefix: Take the names behind this prefix instead of detecting it.
        allow_partial: Accept that some parameters keep their random initialisation.
        trust_pickle: Allow a pickle to run code.
    """

    def __init__(
        self,
        checkpoint: str,
        *,
        branch: Branch = "auto",
        prefix: str | None = None,
        allow_partial: bool = False,
        trust_pickle: bool = False,
    ) -> None:
        self.checkpoint = checkpoint
        self.branch: Branch = branch
        self.prefix = prefix
        self.allow_partial = allow_partial
        self.trust_pickle = trust_pickle

    def __call__(self, module: nn.Module) -> None:
        """Load into `module.backbone`, or into `module` if it has no child of that name.

        Raises:
            ValueError: No checkpoint was named, or it does not fit.
        """
        check_checkpoint(self.checkpoint)
        backbone = getattr(module, "backbone", module)
        # mmengine initialises children after their parent: let them go first, so that nothing
        # touches the loaded weights later.
        for child in [backbone] if backbone is not module else list(module.children()):
            if hasattr(child, "init_weights") and not getattr(child, "is_init", False):
                child.init_weights()
        content = load_weights_file(self.checkpoint, trust_pickle=self.trust_pickle)
        report = load_backbone(
            backbone,
            content,
            branch=self.branch,
            prefix=self.prefix,
            allow_partial=self.allow_partial,
            source=self.checkpoint,
        )
        print_log(str(report), logger="current")
        backbone.weights_record = weights_record(self.checkpoint, content, report)
        backbone.known_colours = known_colours(content)
        for child in backbone.modules():
            if child is not module and hasattr(child, "init_weights"):
                child.is_init = True
        if hasattr(backbone, "_params_init_info"):
            update_init_info(backbone, init_info=f"PretrainedBackbone: {self.checkpoint}")
