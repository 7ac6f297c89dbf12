"""Any timm model that has feature maps, by name alone.

pytorch-image-models (timm), https://github.com/huggingface/pytorch-image-models
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import timm
import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmssl.registry import MODELS

from .timm_sizes import size_advice


def _suggestions(name: str) -> str:
    close = difflib.get_close_matches(name.split(".")[0], timm.list_models(), n=5, cutoff=0.5)
    return f"Nearest names: {', '.join(close)}. " if close else ""


def _create(name: str, pretrained: bool, options: dict[str, Any]) -> Any:
    """The timm model without classifier, with errors in the words of our arguments."""
    if not timm.is_model(name.split(".")[0]):
        raise ValueError(
            f"timm {timm.__version__} has no model named {name!r}. {_suggestions(name)}"
            "timm.list_models('*part*') lists the names that contain a part."
        )
    try:
        return timm.create_model(name, pretrained=pretrained, num_classes=0, **options)
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        raise ValueError(
            f"timm's {name!r} does not take all of {sorted(options)}: {error}. img_size is for "
            "models with a fixed input size (Transformers); convolutional ones take any size."
        ) from error


@MODELS.register_module()
class TimmBackbone(BaseModule):
    """The feature maps of a timm model.

    The model sits in the child `network` under timm's own parameter names, so that weights go both
    ways without renaming. What comes after the last returned map (final norm, classifier) is cut off:
    no parameter is without gradient. Channels-last models (Swin) return (B, C, H, W) maps as well.

    So the regions that EsViT takes from the last map are not normalised, other than those of our own
    networks, and the view of a Transformer (`view_and_map`) is the mean of its patches: a class token is
    not looked at. Transformers that are built for one size need an argument for crops of several sizes,
    `model_args=dict(dynamic_img_size=True)` or `dict(strict_img_size=False)`; `forward` names it.

    Args:
        name: A name of `timm.list_models()`, for example `convnext_atto`.
        out_indices: Which of the model's maps to return, ascending; `None`: the last four, or all if
            there are fewer. Negative numbers count from the end.
        pretrained: Start from the weights that timm publishes (downloaded by timm). For a file use
            `init_cfg=dict(type='PretrainedBackbone', checkpoint=...)`.
        img_size: Input size of models that need it (Swin, ViT), an int or (height, width) in pixels.
        norm_eval: Keep every BatchNorm in eval mode while training.
        model_args: Further arguments of `timm.create_model`, e.g. `dict(drop_path_rate=0.1)`.
        init_cfg: Weight initialisation of the mm family.

    Raises:
        ValueError: timm has no such model, it has no feature maps, or it does not take an argument.

    Example:
        >>> import torch
        >>> backbone = TimmBackbone('test_convnext', out_indices=(-1,))
        >>> [tuple(m.shape[1:]) for m in backbone(torch.zeros(1, 3, 64, 64))], backbone.strides
        ([(64, 2, 2)], [32])
    """

    # Names below this child are timm's own (read by mmssl.convert).
    source_prefix = "network."

    cut_names: list[str]  # timm's names of the tensors behind the last map, which are not here
    out_channels: list[int]
    strides: list[int]

    def __init__(
        self,
        name: str,
        *,
        out_indices: Sequence[int] | None = None,
        pretrained: bool = False,
        img_size: int | Sequence[int] | None = None,
        norm_eval: bool = False,
        model_args: dict[str, Any] | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        options = dict(model_args or {})
        if img_size is not None:
            options["img_size"] = img_size if isinstance(img_size, int) else tuple(img_size)
        network = _create(name, pretrained, options)
        num_maps = len(getattr(network, "feature_info", ()))
        if not num_maps or not hasattr(network, "forward_intermediates"):
            raise ValueError(
                f"timm's {name!r} has no feature maps (neither feature_info nor "
                f"forward_intermediates). {_suggestions(name)}Choose a model of "
                "timm.list_models() for which features_only=True works."
            )
        if out_indices is None:
            out_indices = range(max(0, num_maps - 4), num_maps)
        if not out_indices or not all(-num_maps <= i < num_maps for i in out_indices):
            raise ValueError(
                f"out_indices of {name!r} must lie between {-num_maps} and {num_maps - 1}, it has "
                f"{num_maps} maps; got {tuple(out_indices)}."
            )
        wanted = [i % num_maps for i in out_indices]
        if wanted != sorted(set(wanted)):
            raise ValueError(f"out_indices must be ascending, got {tuple(out_indices)}.")
        info = [dict(network.feature_info[i]) for i in wanted]

        self.name = name
        self.out_indices = tuple(wanted)
        self.norm_eval = norm_eval
        self.model_args = options
        self.out_channels = [entry["num_chs"] for entry in info]
        self.strides = [entry["reduction"] for entry in info]
        before = set(network.state_dict())
        # Pruning may renumber: what it returns is what forward_intermediates has to be asked for.
        self._take = network.prune_intermediate_layers(wanted, prune_norm=True)
        self.cut_names = sorted(before - set(network.state_dict()))
        self.network = network
        # Some models have an `init_weights` of timm's own; mmengine would call it and so undo
        # `pretrained` and every loaded file.
        self.network.is_init = True

    def train(self, mode: bool = True) -> TimmBackbone:
        """Switch the mode; with `norm_eval` BatchNorm stays in eval mode."""
        super().train(mode)
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Feature maps.

        Args:
            images: (B, 3, H, W) normalised images.

        Returns:
            One map (B, C, H / stride, W / stride) for each of `out_indices`.

        Raises:
            ValueError: The network does not take images of this size.
        """
        try:
            maps = self.network.forward_intermediates(
                images, indices=self._take, output_fmt="NCHW", intermediates_only=True
            )
        except (AssertionError, RuntimeError) as error:
            advice = self._size_advice(images)
            if advice is None:
                raise
            raise ValueError(
                f"timm's {self.name!r} does not take images of {images.shape[2]} x {images.shape[3]} "
                f"pixels. {advice} (timm: {error})"
            ) from error
        return tuple(maps)

    @torch.compiler.disable  # nothing to trace: it builds networks
    def _size_advice(self, images: Tensor) -> str | None:
        if images.ndim != 4 or images.shape[1] != 3:
            return None
        return size_advice(
            self.name,
            self.model_args,
            indices=self.out_indices,
            size=(images.shape[2], images.shape[3]),
            stride=self.strides[-1],
        )
