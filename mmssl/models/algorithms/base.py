"""BaseAlgorithm: what every self-supervised method shares."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Literal

from mmengine.logging import print_log
from mmengine.model import BaseModel, is_model_wrapper
from torch import Tensor, nn

from mmssl.models.momentum_twin import MomentumTwin
from mmssl.registry import MODELS, build_module
from mmssl.structures import Progress, ViewBatch


class BaseAlgorithm(BaseModel):
    """A backbone, what a method puts on it, and the loss over the views of a batch.

    A method writes its constructor and `loss`; nothing else. Constructors take built modules or
    config dicts.

    Args:
        backbone: Returns a tuple of feature maps (B, C, H, W).
        data_preprocessor: Moves and normalises a `ViewBatch`; default `ViewPreprocessor()`.
        init_cfg: Weight initialisation of the mm family, for the whole algorithm.

    Attributes:
        negatives_in_batch: Whether what an image is told from are the other images of its forward pass, of
            which accumulated gradients have fewer.
        published_branch: Whose backbone evaluation and export take unless told otherwise: that of the trained
            network, or of its momentum twin where the article evaluates that.
        uniform_losses: By name of a loss term, its value when every outcome that it predicts is as likely as
            any other: its weight times ln K. The collapse doctor looks for a loss that stays there.
        loss_floors: By name of a loss term, a lowest value of its own, or the pair of that and the name of a
            logged share by which it is reached (PixPro: images whose views overlap).
    """

    negatives_in_batch: ClassVar[bool] = False
    published_branch: ClassVar[Literal["online", "twin"]] = "online"
    twin: MomentumTwin | None

    def __init__(
        self,
        backbone: nn.Module | dict,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(
            data_preprocessor=build_module(
                MODELS, data_preprocessor or dict(type="mmssl.ViewPreprocessor")
            ),
            init_cfg=init_cfg,
        )
        self.backbone = build_module(MODELS, backbone)
        self.progress: Progress | None = None
        self.uniform_losses: dict[str, float] = {}
        self.loss_floors: dict[str, float | tuple[float, str]] = {}
        # not a class attribute: that would hide the registered sub-module of the same name
        self.twin = None

    @abstractmethod
    def loss(self, views: ViewBatch) -> dict[str, Tensor]:
        """The loss terms and diagnostics of one batch.

        Entries whose name contains "loss" are added up and minimised; others are logged only.
        """

    def two_views(self, views: ViewBatch) -> tuple[Tensor, Tensor]:
        """The images (B, 3, H, W) of the two views that a symmetric method needs.

        Raises:
            ValueError: Another number of views.
        """
        if len(views.images) != 2:
            raise ValueError(
                f"{type(self).__name__} needs exactly two views per image, got {len(views.images)}; use a "
                "view set with two views (see configs/_base_/views/)."
            )
        return views.images[0], views.images[1]

    def two_boxes(self, views: ViewBatch) -> tuple[Tensor, Tensor]:
        """The boxes (B, 4) of the two views, for a method that needs to know what they show.

        Raises:
            ValueError: The views come without boxes.
        """
        if len(views.boxes) != len(views.images):
            raise ValueError(
                f"{type(self).__name__} needs crop boxes but ViewBatch.boxes is "
                + (f"of {len(views.boxes)} views" if views.boxes else "empty")
                + "; use geometric transforms that record boxes (see configs/_base_/views/pixpro.py)."
            )
        return views.boxes[0], views.boxes[1]

    def teacher_views(self, views: ViewBatch, num: int = 2) -> list[Tensor]:
        """The first `num` views, which the twin of a multi-crop method sees.

        Raises:
            ValueError: There are not as many views.
        """
        if len(views.images) < num:
            raise ValueError(
                f"{type(self).__name__} needs at least {num} views per image, the first {num} of them "
                f"large crops, got {len(views.images)} (see configs/_base_/views/dino.py)."
            )
        return views.images[:num]

    def extract_feat(self, images: Tensor) -> tuple[Tensor, ...]:
        """Feature maps of the online backbone for normalised `images` (B, 3, H, W)."""
        return self.backbone(images)

    def forward(
        self,
        inputs: ViewBatch | Tensor,
        data_samples: Any = None,
        mode: Literal["loss", "tensor"] = "tensor",
    ) -> dict[str, Tensor] | tuple[Tensor, ...]:
        """Loss terms of a `ViewBatch` (`loss`), or feature maps (`tensor`) of its first view or of images.

        Raises:
            RuntimeError: `mode='loss'` before `progress` was set; schedules would be undefined.
            ValueError: Another mode.
        """
        if mode == "loss":
            if self.progress is None:
                raise RuntimeError(
                    f"{type(self).__name__}.progress is not set, so schedules are undefined. Train with "
                    "ProgressHook (configs/_base_/default_runtime.py has it), or set "
                    "algorithm.progress = Progress(iter, max_iters, epoch, max_epochs) by hand."
                )
            return self.loss(inputs)
        if mode == "tensor":
            return self.extract_feat(inputs.images[0] if isinstance(inputs, ViewBatch) else inputs)
        raise ValueError(f"mode must be 'loss' or 'tensor', got {mode!r}.")

    def init_weights(self) -> None:
        """Initialise, then let the twin start as a copy of the online networks."""
        super().init_weights()
        if self.twin is not None:
            self.twin.sync(self)

    def _dump_init_info(self) -> None:
        """Log the parameters that an `init_cfg` has set; mmengine would list all of them."""
        unchanged = "The value is the same before and after calling `init_weights`"
        for name, parameter in self.named_parameters():
            init_info = self._params_init_info[parameter]["init_info"]
            if not init_info.startswith(unchanged):
                print_log(f"{name} {tuple(parameter.shape)}: {init_info}", logger="current")


def bare_model(model: nn.Module) -> Any:
    """The module without its wrapper for distributed training; typed loosely, for it is whatever it is."""
    return model.module if is_model_wrapper(model) else model
