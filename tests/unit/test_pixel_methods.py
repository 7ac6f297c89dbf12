"""PixPro and PixContrast: what each part sees, instance branch, levels, switches."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmssl.losses import pixel as pixel_losses
from mmssl.models.necks import ConvMLPNeck
from mmssl.ops import propagation
from mmssl.ops.boxes import cells_near
from mmssl.ops.propagation import image_chunks
from mmssl.registry import MODELS
from mmssl.structures import Progress, ViewBatch
from tests.helpers.tiny import (
    TinyBackbone,
    TinyPyramid,
    tiny_densecl,
    tiny_model,
    tiny_pixcontrast,
    tiny_pixpro,
    tiny_views,
)

INSTANCE = dict(hid_channels=16, out_channels=8)
WHOLE_BRANCH = dict(instance_neck=INSTANCE, instance_head=dict(hid_channels=16))
methods = pytest.mark.parametrize("build", [tiny_pixpro, tiny_pixcontrast])


def ready(model, seed: int = 1):
    """Twin and online network differ, as in training."""
    torch.manual_seed(seed)
    for parameter in model.twin.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    model.progress = Progress(0, 10, 0, 1)
    return model.train()


def by_hand(model, views: ViewBatch) -> Tensor:
    """PixPro's loss of the last map, written out."""
    model = copy.deepcopy(model)

    def project(net, x):
        return net.neck(net.backbone(x)[-1])

    y = [F.normalize(model.head(project(model, x)), dim=1).flatten(2) for x in views.images]
    z = [F.normalize(project(model.twin, x), dim=1).flatten(2) for x in views.images]
    near = cells_near(*views.boxes, (2, 2), (2, 2), radius=0.7).float()
    count = near.sum(dim=(1, 2)) + 1e-6
    forth = (near * (y[0].mT @ z[1])).sum(dim=(1, 2)) / count
    back = (near.mT * (y[1].mT @ z[0])).sum(dim=(1, 2)) / count
    return -2 * (forth.mean() + back.mean())


def test_values_pixpro_by_hand():
    model, views = ready(tiny_pixpro()), tiny_views(size=6)
    expected = by_hand(model, views)
    losses = model(views, mode="loss")
    torch.testing.assert_close(losses["loss_pixel"], expected)
    near = cells_near(*views.boxes, (2, 2), (2, 2), radius=0.7)
    assert losses["num_positives"] == near.sum() / 6
    assert losses["overlap"] == near.flatten(1).any(dim=1).float().mean()
    half = ready(tiny_pixpro(loss_scale=1.0))
    half.load_state_dict(copy.deepcopy(tiny_model("pixpro")).state_dict())
    full = tiny_model("pixpro")
    values = [m(views, mode="loss")["loss_pixel"].item() for m in (half, full)]
    assert values[1] == pytest.approx(2 * values[0], rel=1e-6)


def test_values_range_and_views_apart():
    """The loss lies in [-4, 4]; without any overlap it is 0 and nothing learns, but all gets a gradient."""
    model, views = ready(tiny_pixpro()), tiny_views()
    assert abs(model(views, mode="loss")["loss_pixel"].item()) <= 4
    apart = views._replace(boxes=[views.boxes[0], views.boxes[1] + 5])
    losses = model(apart, mode="loss")
    assert losses["loss_pixel"] == 0 and losses["overlap"] == 0
    losses["loss_pixel"].backward()
    online = [p for n, p in model.named_parameters() if not n.startswith("twin.")]
    assert all(p.grad is not None and not p.grad.any() for p in online)
    equal = tiny_views()
    equal = equal._replace(images=[equal.images[0]] * 2, boxes=[equal.boxes[0]] * 2)
    model.eval()
    model.head = torch.nn.Identity()
    model.twin.sync(model)
    assert model(equal, mode="loss")["loss_pixel"].item() == pytest.approx(-4, rel=1e-5)


@methods
def test_raises_without_boxes(build):
    views = tiny_views()
    name = type(build()).__name__
    with pytest.raises(ValueError, match=rf"{name} needs crop boxes but ViewBatch.boxes is empty"):
        ready(build())(views._replace(boxes=[]), mode="loss")
    with pytest.raises(ValueError, match="boxes is of 1 views"):
        ready(build())(views._replace(boxes=views.boxes[:1]), mode="loss")


@methods
def test_equivalence_swapped_views(build):
    """Both directions count alike; statistics of BatchNorm aside, the views' order does not matter."""
    model, views = ready(build()).eval(), tiny_views()
    swapped = views._replace(images=views.images[::-1], boxes=views.boxes[::-1])
    values = [model(v, mode="loss") for v in (views, swapped)]
    name = next(key for key in values[0] if "loss" in key)
    torch.testing.assert_close(values[0][name], values[1][name])


@methods
def test_state_statistics_follow_the_passes(build):
    """View 1, view 2 by each branch, a pass each; the twin's statistics are its own."""
    model, views = ready(build()), tiny_views()
    expected = {}
    for branch in ("backbone", "twin.backbone"):
        backbone = copy.deepcopy(model.get_submodule(branch))
        for image in views.images:
            backbone(image)
        expected[branch] = backbone.state_dict()
    model(views, mode="loss")
    for branch, state in expected.items():
        for key, value in model.get_submodule(branch).state_dict().items():
            torch.testing.assert_close(value, state[key])


def test_values_instance_branch_by_hand():
    model = ready(
        tiny_pixpro(
            instance_neck=INSTANCE, instance_head=dict(hid_channels=16), instance_weight=0.5
        )
    )
    assert sorted(model.twin.names) == ["backbone", "instance_neck", "neck"]
    views, net = tiny_views(), copy.deepcopy(model)
    p, z = [], []
    for image in views.images:
        online = net.instance_head(net.instance_neck(net.backbone(image)[-1]))
        p.append(F.normalize(online.mean(dim=(2, 3)), dim=1))
        z.append(
            F.normalize(net.twin.instance_neck(net.twin.backbone(image)[-1]).mean((2, 3)), dim=1)
        )
    cosine = (p[0] * z[1]).sum(1).mean() + (p[1] * z[0]).sum(1).mean()
    losses = model(views, mode="loss")
    torch.testing.assert_close(losses["loss_instance"], 0.5 * -2 * cosine)
    # the pixel loss is that of the model without the branch
    torch.testing.assert_close(losses["loss_pixel"], by_hand(net, views))


def test_values_simclr_star_by_hand():
    model = ready(tiny_pixpro(instance_neck=INSTANCE, instance_loss="simclr_star"))
    views, net = tiny_views(), copy.deepcopy(model)

    def embed(branch, image):
        pooled = branch.backbone(image)[-1].mean(dim=(2, 3), keepdim=True)
        return F.normalize(branch.instance_neck(pooled).flatten(1), dim=1)

    q = [embed(net, image) for image in views.images]
    k = [embed(net.twin, image) for image in views.images]
    own = torch.arange(4)
    expected = (
        F.cross_entropy(q[0] @ k[1].T / 0.2, own) + F.cross_entropy(q[1] @ k[0].T / 0.2, own)
    ) / 2
    torch.testing.assert_close(model(views, mode="loss")["loss_instance"], expected)


@methods
def test_values_levels_are_averaged(build):
    """A pyramid's loss is the mean of those of its levels alone; neck and head are shared."""
    model = ready(build(backbone=TinyBackbone(), pyramid=TinyPyramid()))
    views = tiny_views(size=6)
    assert model.neck.in_channels == 4 and "pyramid" in model.twin.names
    whole, alone = copy.deepcopy(model), []
    total = whole(views, mode="loss")
    name = next(key for key in total if "loss" in key)

    class Level(TinyPyramid):
        def forward(self, maps):
            return super().forward(maps)[self.level : self.level + 1]

    for level in range(2):
        part = copy.deepcopy(model)
        for pyramid in (part.pyramid, part.twin.pyramid):
            pyramid.__class__, pyramid.level = Level, level
        alone.append(part(views, mode="loss")[name])
    torch.testing.assert_close(total[name], torch.stack(alone).mean())
    total[name].backward()
    unused = [n for n, p in whole.named_parameters() if p.requires_grad and p.grad is None]
    assert unused == []


def test_values_contrast_options():
    views = tiny_views(size=6)
    apart = views._replace(boxes=[views.boxes[0], views.boxes[1].clone()])
    apart.boxes[1][:2] += 5
    state = tiny_model("pixcontrast").state_dict()

    def loss(batch=views, **options):
        model = ready(tiny_pixcontrast(**options))
        model.load_state_dict(state)
        return model(batch, mode="loss")["loss"].item()

    assert loss(directions="sum") == pytest.approx(2 * loss(), rel=1e-6)
    assert loss(empty="skip") == pytest.approx(loss(), rel=1e-6)
    # two of six images without a positive
    assert loss(apart, empty="skip") == pytest.approx(6 / 4 * loss(apart), rel=1e-6)
    assert loss(neg_ratio=1.2) < loss()  # fewer negatives
    nothing = views._replace(boxes=[views.boxes[0], views.boxes[1] + 5])
    assert loss(nothing, empty="skip") == 0


def test_state_init_is_that_of_convolutions():
    """Heads keep torch's default: uniform in +- 1 / sqrt(fan in), biases too."""
    torch.manual_seed(0)
    model = tiny_pixpro(neck=dict(hid_channels=400, out_channels=300))
    model.init_weights()
    for conv, fan in ((model.neck.layers[0], 16), (model.neck.layers[3], 400)):
        for values in (conv.weight, conv.bias):
            assert values.abs().max().item() <= fan**-0.5
            assert values.std().item() == pytest.approx(fan**-0.5 / 3**0.5, rel=0.1)


def test_values_size_of_the_published_model():
    model = MODELS.build(
        dict(
            type="PixPro",
            backbone=dict(type="ResNet", depth=50, out_indices=(3,)),
            neck={},
            head={},
        )
    )
    learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert learning == 33_023_552


@pytest.mark.parametrize("name", ["pixpro", "pixpro_instance", "pixcontrast"])
def test_equivalence_compiled_as_one_graph(name):
    model, views = tiny_model(name), tiny_views()
    expected = copy.deepcopy(model)(views, mode="loss")
    compiled = torch.compile(model.loss, backend="eager", fullgraph=True)(views)
    for key, value in expected.items():
        torch.testing.assert_close(compiled[key], value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(instance_neck=INSTANCE), "an instance_neck and an instance_head"),
        (dict(instance_head=dict()), "an instance_neck and an instance_head"),
        (
            dict(instance_neck=INSTANCE, instance_head=dict(), instance_loss="simclr_star"),
            "no instance_head",
        ),
        (dict(instance_loss="simclr"), "must be 'byol' or 'simclr_star'"),
        # a network's own description would fill a page
        (
            dict(instance_head=ConvMLPNeck(4, 4, 4)),
            "got None as instance_neck and a ConvMLPNeck as instance_head.$",
        ),
        (dict(pos_ratio=0.0), "PixPro.pos_ratio must be above 0, got 0.0"),
        (dict(loss_scale=-1.0), "PixPro.loss_scale must be above 0, got -1.0"),
        (dict(WHOLE_BRANCH, instance_weight=0.0), "instance_weight .*leave out instance_neck"),
        (dict(WHOLE_BRANCH, instance_temperature=0.0), "PixPro.instance_temperature must be above"),
    ],
)
def test_raises_on_parts_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        tiny_pixpro(**options)
    if "instance_neck" not in options:  # nothing is asked of a branch that is not there
        tiny_pixpro(instance_weight=0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(pos_ratio=0.0), "PixContrast.pos_ratio must be above 0, .*; got 0.0"),
        (dict(temperature=0.0), "PixContrast.temperature must be above 0, got 0.0"),
        (dict(neg_ratio=0.5), "neg_ratio must not be below pos_ratio=0.7, .*; got 0.5"),
    ],
)
def test_raises_on_a_contrast_that_cannot_learn(options, message):
    with pytest.raises(ValueError, match=message):
        tiny_pixcontrast(**options)


def test_raises_on_densecl_without_a_temperature():
    with pytest.raises(ValueError, match="DenseCL.temperature must be above 0, got 0"):
        tiny_densecl(temperature=0)


@methods
def test_equivalence_chunks_of_the_config(build, monkeypatch):
    """`max_pairs` of the method and of the head reach what splits the batch, and change no number."""
    given = []
    for module in (pixel_losses, propagation):

        def chunks(num_images, num_pairs, max_pairs, *, name=module.__name__):
            given.append((name.rsplit(".")[-1], max_pairs))
            return image_chunks(num_images, num_pairs, max_pairs)

        monkeypatch.setattr(module, "image_chunks", chunks)
    views, expected = tiny_views(size=6), None
    head = dict(head=dict(max_pairs=17)) if build is tiny_pixpro else {}
    for options in ({}, dict(max_pairs=33, **head)):
        torch.manual_seed(0)
        given.clear()
        found = ready(build(**options))(views, mode="loss")
        expected = expected or found
        for key, value in found.items():
            torch.testing.assert_close(value, expected[key], msg=key)
    assert set(given) == {("pixel", 33)} | ({("propagation", 17)} if head else set())


@pytest.mark.parametrize("name", ["empty", "directions"])
def test_raises_on_unknown_options_of_the_contrast(name):
    with pytest.raises(ValueError, match=f"PixContrast.{name} must be one of"):
        tiny_pixcontrast(**{name: "other"})
