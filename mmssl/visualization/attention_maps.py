"""Where a network looks: maps over an image, of a backbone alone or of CARE's attention stream.

CARE - CNN Attention REvitalization (NeurIPS 2021, arXiv 2110.05340) shows such maps of networks
trained with and without its attention stream, but neither the article nor the released code says how
they were drawn. There are three kinds here:

* `energy_of`: the mean over channels of a feature map behind its ReLU. Needs no labels and no
  T-stream, works for every backbone and image size. The default.
* `grad_cam`: what supports a class of a linear classifier on the last stage (arXiv 1610.02391).
* `key_attention`: how much each position is attended, per block and head of the T-stream.

All of them are scaled to [0, 1] per image: colours compare places within a map, not two maps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn
from torchvision.transforms import functional as TF

from mmssl.evaluation.features import Branch, frozen, select_backbone
from mmssl.models.algorithms.base import BaseAlgorithm
from mmssl.models.layers import BottleneckAttention
from mmssl.models.necks import AttentionStack

Reduce = Literal["mean", "norm"]

# torchvision's test transform: an image of 256 pixels is cut to 224.
RESIZE_RATIO = 256 / 224
COLORMAP = "jet"


def central_crop(image: Image.Image, size: int = 224) -> Image.Image:
    """The centre of an image as evaluation sees it: shorter side to 8/7 of `size`, then cut."""
    resized = TF.resize(
        image, round(size * RESIZE_RATIO), TF.InterpolationMode.BICUBIC, antialias=True
    )
    return TF.center_crop(resized, [size, size])


def whole_image(image: Image.Image, size: int, multiple: int = 32) -> Image.Image:
    """The whole image, its shorter side at `size`, both sides rounded to a multiple of the stride."""
    scale = size / min(image.size)
    width, height = (
        max(multiple, round(side * scale / multiple) * multiple) for side in image.size
    )
    return image.resize((width, height), Image.Resampling.BICUBIC)


def normalised(preprocessor: nn.Module, images: Sequence[np.ndarray]) -> Tensor:
    """Pictures (H, W, 3) uint8 of one size as the batch (N, 3, H, W) of a network with `preprocessor`."""
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).to(preprocessor.mean.device)
    return (pixels.float() - preprocessor.mean) / preprocessor.std


def network_input(model: BaseAlgorithm, images: Sequence[np.ndarray]) -> Tensor:
    """Pictures (H, W, 3) uint8 of one size as the normalised (N, 3, H, W) batch that `model` takes."""
    return normalised(model.data_preprocessor, images)


def unit_range(maps: Tensor) -> Tensor:
    """Scale each of the maps (..., H, W) to [0, 1]; a constant map becomes 0.

    Example:
        >>> unit_range(torch.tensor([[[1.0, 3.0], [2.0, 1.0]]]))
        tensor([[[0.0000, 1.0000],
                 [0.5000, 0.0000]]])
    """
    low = maps.amin(dim=(-2, -1), keepdim=True)
    span = maps.amax(dim=(-2, -1), keepdim=True) - low
    return torch.where(span > 0, (maps - low) / span.where(span > 0, 1.0), 0.0)


def energy(features: Tensor, reduce: Reduce = "mean") -> Tensor:
    """The energy of a feature map per position, in [0, 1] per image.

    Args:
        features: (N, C, H, W), behind a ReLU for `reduce='mean'`.
        reduce: `mean` over channels, or their L2 `norm`.

    Returns:
        (N, H, W).

    Raises:
        ValueError: Another `reduce`.
    """
    if reduce == "mean":
        return unit_range(features.mean(dim=1))
    if reduce == "norm":
        return unit_range(features.norm(dim=1))
    raise ValueError(f"reduce must be 'mean' or 'norm', got {reduce!r}.")


def energy_of(
    model: BaseAlgorithm,
    images: Sequence[np.ndarray],
    *,
    stage: int = -1,
    reduce: Reduce = "mean",
    branch: Branch = "online",
) -> Tensor:
    """`energy` of a backbone in evaluation mode.

    Args:
        model: Any algorithm; only its backbone and preprocessor are used.
        images: (H, W, 3) uint8 RGB pictures of one size.
        stage: Which of the backbone's maps; -1 is the last.
        reduce: See `energy`.
        branch: The online backbone or the twin's.

    Returns:
        (N, h, w) on the CPU.
    """
    backbone = select_backbone(model, branch)
    with frozen(backbone):
        features = backbone(network_input(model, images))
    if not -len(features) <= stage < len(features):
        raise ValueError(f"Stage {stage} was asked for, the backbone returns {len(features)} maps.")
    return energy(features[stage].float(), reduce).cpu()


def grad_cam(
    model: BaseAlgorithm,
    classifier: nn.Module,
    images: Sequence[np.ndarray],
    targets: Sequence[int] | None = None,
    *,
    branch: Branch = "online",
) -> Tensor:
    """Grad-CAM on the last map: ReLU of the channels weighted with the pooled gradients of a class.

        w_c = mean_{y,x} d logit_target / d F_c(y, x),   h = ReLU(sum_c w_c F_c)

    Source: Grad-CAM, arXiv 1610.02391, equations 1 and 2.

    Args:
        model: Any algorithm; only its backbone and preprocessor are used.
        classifier: Maps pooled features (N, C) to logits (N, K), such as a trained linear probe.
        images: (H, W, 3) uint8 RGB pictures of one size.
        targets: A class per image; default the predicted one.
        branch: The online backbone or the twin's.

    Returns:
        (N, h, w) in [0, 1] per image, on the CPU.
    """
    backbone = select_backbone(model, branch)
    with frozen(backbone):
        features = backbone(network_input(model, images))[-1].float()
    with frozen(classifier), torch.enable_grad():
        features.requires_grad_()
        logits = classifier(features.mean(dim=(2, 3)))
        chosen = logits.argmax(dim=1)
        if targets is not None:
            chosen = torch.as_tensor(targets, device=logits.device)
        score = logits.gather(1, chosen[:, None]).sum()
        (gradient,) = torch.autograd.grad(score, features)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    return unit_range((weights * features.detach()).sum(dim=1).relu()).cpu()


def stream_attention(model: BaseAlgorithm, images: Sequence[np.ndarray]) -> list[Tensor]:
    """`key_attention` of every block of the model's attention stack, in evaluation mode.

    Args:
        model: An algorithm with an `AttentionStack` (CARE's T-stream).
        images: (H, W, 3) uint8 RGB pictures of the size that the stack was built for.

    Returns:
        One (N, heads, h, w) per block, on the CPU.

    Raises:
        ValueError: The model has no attention stack.
    """
    stack = next((part for part in model.children() if isinstance(part, AttentionStack)), None)
    if stack is None:
        raise ValueError(
            f"{type(model).__name__} has no attention stream; use the energy map for it."
        )
    inputs: list[Tensor] = []
    layers = [part for part in stack.modules() if isinstance(part, BottleneckAttention)]
    hooks = [
        layer.register_forward_pre_hook(lambda _, args: inputs.append(args[0])) for layer in layers
    ]
    try:
        with frozen(model):
            features = model.backbone(network_input(model, images))
            stages = list(getattr(model.backbone, "out_indices", range(len(features))))
            stack(features[stages.index(stack.in_stage)])
            return [
                key_attention(layer.attention_map(given).float(), layer.fmap_size).cpu()
                for layer, given in zip(layers, inputs, strict=True)
            ]
    finally:
        for hook in hooks:
            hook.remove()


def key_attention(probabilities: Tensor, size: tuple[int, int]) -> Tensor:
    """How much each position is attended on average: the mean over queries of softmax rows.

    Args:
        probabilities: (N, heads, H*W, H*W); entry [i, j] is the weight of key j for query i.
        size: (H, W), positions in row-major order.

    Returns:
        (N, heads, H, W); each map sums to 1.

    Raises:
        ValueError: The number of positions is not H*W.
    """
    height, width = size
    if probabilities.shape[-2:] != (height * width, height * width):
        raise ValueError(
            f"Expected attention between {height * width} positions for a {height}x{width} map, "
            f"got {tuple(probabilities.shape)}."
        )
    return probabilities.mean(dim=-2).unflatten(-1, (height, width))


def overlay(image: np.ndarray, attention: np.ndarray | Tensor, alpha: float = 0.5) -> np.ndarray:
    """Lay a map over its image in colours.

    Args:
        image: (H, W, 3) uint8.
        attention: (h, w) in [0, 1]; enlarged to the image bicubically.
        alpha: Share of the colours.

    Returns:
        (H, W, 3) uint8.
    """
    small = Image.fromarray(np.asarray(attention, dtype=np.float32))
    large = small.resize((image.shape[1], image.shape[0]), Image.Resampling.BICUBIC)
    colours = colormaps[COLORMAP](np.clip(np.asarray(large), 0, 1))[..., :3] * 255
    return (alpha * colours + (1 - alpha) * image + 0.5).astype(np.uint8)


def attention_sheet(
    images: Sequence[np.ndarray],
    rows: Mapping[str, np.ndarray | Tensor],
    *,
    cell: int = 160,
    alpha: float = 0.5,
) -> Image.Image:
    """Images and their maps side by side: one row per source of maps, one column per image.

    Args:
        images: (H, W, 3) uint8 pictures.
        rows: Label -> one map per image (N, h, w), in the order of the rows.
        cell: Height of a picture on the sheet, in pixels.
        alpha: Share of the colours, see `overlay`.

    Raises:
        ValueError: A label does not have one map per image.
    """
    lines: list[tuple[str, list[np.ndarray]]] = [("image", list(images))]
    for label, maps in rows.items():
        if len(maps) != len(images):
            raise ValueError(f"{label!r} has {len(maps)} maps for {len(images)} images.")
        lines.append((label, [overlay(i, m, alpha) for i, m in zip(images, maps, strict=True)]))
    font = ImageFont.load_default(size=14)
    margin = 16 + max(round(font.getlength(label)) for label, _ in lines)
    gap = 6
    widths = [round(cell * image.shape[1] / image.shape[0]) for image in images]
    sheet = Image.new(
        "RGB",
        (
            margin + sum(widths) + gap * (len(widths) - 1),
            len(lines) * cell + gap * (len(lines) - 1),
        ),
        "white",
    )
    draw = ImageDraw.Draw(sheet)
    for number, (label, pictures) in enumerate(lines):
        top, left = number * (cell + gap), margin
        draw.text((6, top + cell // 2), label, fill=(40, 40, 48), font=font, anchor="lm")
        for picture, width in zip(pictures, widths, strict=True):
            tile = Image.fromarray(picture).resize((width, cell), Image.Resampling.LANCZOS)
            sheet.paste(tile, (left, top))
            left += width + gap
    return sheet
