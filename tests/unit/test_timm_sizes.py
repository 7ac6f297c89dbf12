"""Images that a timm network does not take: errors that name what helps, and other errors as they are."""

from __future__ import annotations

import pytest
import torch

from mmssl.models.backbones import TimmBackbone
from mmssl.models.backbones.timm_sizes import size_advice

VIT, SWIN = "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"


def tiny(name: str, **options) -> TimmBackbone:
    """With one block, or one in each stage."""
    short = {VIT: dict(depth=1), SWIN: dict(depths=(1, 1, 1, 1))}.get(name, {})
    model_args = {**short, **options.pop("model_args", {})}
    return TimmBackbone(name, model_args=model_args, **options).eval()


@pytest.mark.parametrize(
    ("name", "size", "options", "found"),
    [
        (VIT, (96, 96), dict(dynamic_img_size=True), (6, 6)),
        (VIT, (96, 64), dict(dynamic_img_size=True), (6, 4)),
        (SWIN, (96, 96), dict(strict_img_size=False), (3, 3)),
    ],
)
def test_raises_with_the_arguments_that_help(name, size, options, found):
    """As advised, crops of 224 pixels and of others go through one network."""
    ((key, value),) = options.items()
    with pytest.raises(ValueError, match="does not take images") as error:
        tiny(name)(torch.zeros(1, 3, *size))
    assert name in str(error.value) and f"{size[0]} x {size[1]} pixels" in str(error.value)
    assert f"Build it with model_args=dict({key}={value}). As it is it takes 224 x 224." in str(
        error.value
    )
    backbone = tiny(name, model_args=options)
    assert backbone(torch.zeros(1, 3, *size))[-1].shape[2:] == found
    assert backbone(torch.zeros(1, 3, 224, 224))[-1].shape[2:] == (224 // backbone.strides[-1],) * 2


@pytest.mark.parametrize(
    ("name", "size", "options", "words"),
    [
        (VIT, 100, {}, r"dict\(dynamic_img_size=True\) for images of 96 x 96. As it is it takes 224"),
        (VIT, 100, dict(model_args=dict(dynamic_img_size=True)), "pixels. As it is it takes 96 x 96"),
        (VIT, 224, dict(img_size=96), r"dynamic_img_size=True\). As it is it takes 96 x 96"),
        (SWIN, 94, {}, r"dict\(strict_img_size=False\) for images of 96 x 96. As it is it takes 224"),
        ("test_convnext", 3, {}, "pixels. As it is it takes 32 x 32"),
        ("efficientformerv2_s0", 96, {}, r"img_size=\(96, 96\) for images of this size alone. As it is"),
        ("levit_128s", 96, {}, "As it is it takes 224 x 224"),
    ],
)  # fmt: skip
def test_raises_with_a_size_that_fits(name, size, options, words):
    with pytest.raises(ValueError, match=words):
        tiny(name, **options)(torch.zeros(1, 3, size, size))


def test_values_advice_goes_by_the_maps_that_are_asked_for():
    """The first map of a ConvNeXt needs 4 pixels, its last 32; empty maps do not count as maps."""
    arguments = dict(size=(8, 64), stride=4)
    assert size_advice("test_convnext", {}, indices=(0,), **arguments) is None
    assert "takes 32 x 64" in size_advice(
        "test_convnext", {}, indices=(3,), size=(8, 64), stride=32
    )


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.zeros(1, 3, 64, 64, dtype=torch.double), "double"),
        (torch.zeros(1, 1, 64, 64), "3 channels"),
        (torch.zeros(3, 64), "Expected 3D"),
    ],
)
def test_raises_other_errors_as_they_are(images, words):
    with pytest.raises(RuntimeError, match=words):
        TimmBackbone("test_convnext")(images)


def test_equivalence_one_graph():
    """What words the errors does not break the graph of a compiled network."""
    backbone = TimmBackbone("test_vit").eval()
    images = torch.randn(1, 3, 96, 96)
    compiled = torch.compile(backbone, backend="eager", fullgraph=True)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(compiled(images), backbone(images)))
