"""ImageClassifier: what is frozen, what is trained, what is predicted."""

from __future__ import annotations

import pytest
import torch
from mmengine.registry import init_default_scope
from torch import nn

from mmssl.models.algorithms import ImageClassifier
from mmssl.models.backbones import VisionTransformer
from mmssl.structures import Predictions, Progress, ViewBatch
from tests.helpers.tiny import TinyBackbone

HEAD = dict(type="LinearHead", num_classes=3)


@pytest.fixture(autouse=True)
def _scope() -> None:
    init_default_scope("mmssl")


def batch(*, views: int = 1, multi_label: bool = False, size: int = 32) -> ViewBatch:
    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(6, 3, size, size, generator=generator) for _ in range(views)]
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    if multi_label:
        labels = torch.tensor([[1, -1, 0]] * 6, dtype=torch.int8)
    return ViewBatch(images, torch.arange(6), [], labels, [])


def classifier(**options) -> ImageClassifier:
    torch.manual_seed(0)
    model = ImageClassifier(TinyBackbone((2, 3)), HEAD, **options)
    model.progress = Progress(0, 3, 0, 1)
    return model.train()


def train(model: ImageClassifier, views: ViewBatch, steps: int = 2) -> dict[str, torch.Tensor]:
    """The tensors of the backbone before; the model afterwards is trained."""
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    sgd = torch.optim.SGD(trained, lr=0.1, momentum=0.9)
    for _ in range(steps):
        sgd.zero_grad()
        model(views, mode="loss")["loss"].backward()
        sgd.step()
    return before


def changed(model: ImageClassifier, before: dict[str, torch.Tensor]) -> set[str]:
    return {n for n, v in model.backbone.state_dict().items() if not torch.equal(v, before[n])}


def test_values_head_starts_small() -> None:
    model = ImageClassifier(TinyBackbone((3,)), dict(type="LinearHead", num_classes=1000))
    assert model.head.fc.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not model.head.fc.bias.any()


def test_state_frozen_backbone_is_bit_identical() -> None:
    model = classifier()
    assert model.head.training and not any(m.training for m in model.backbone.modules())
    head = model.head.fc.weight.clone()
    before = train(model, batch())
    assert changed(model, before) == set()
    assert not torch.equal(model.head.fc.weight, head)
    assert all(parameter.grad is None for parameter in model.backbone.parameters())


def test_state_norms_train_alone() -> None:
    """HCSC's VOC07 protocol: running statistics move, parameters do not."""
    model = classifier(train_norms=True, multi_label=True, reduction="sum")
    before = train(model, batch(multi_label=True))
    names = ("running_mean", "running_var", "num_batches_tracked")
    expected = {name for name in before if name.rsplit(".", 1)[-1] in names}
    assert changed(model, before) == expected and expected
    assert not any(m.training for m in model.eval().backbone.modules())


def test_state_finetuning_changes_everything() -> None:
    model = classifier(frozen=False)
    assert all(module.training for module in model.modules())
    before = train(model, batch())
    assert changed(model, before) == set(before)


def test_equivalence_loss_and_prediction() -> None:
    model = classifier()
    views = batch(views=2)
    single = views._replace(images=views.images[:1])
    found = model(single, mode="loss")
    (predicted,) = model.eval()(single, mode="predict")
    assert isinstance(predicted, Predictions)
    expected = torch.nn.functional.cross_entropy(predicted.scores, views.label)
    torch.testing.assert_close(found["loss"], expected)
    right = (predicted.scores.argmax(1) == views.label).float().mean()
    assert found["accuracy"].item() == pytest.approx(100 * right.item())
    # several views: the mean of their logits
    (both,) = model(views, mode="predict")
    other = model(views._replace(images=views.images[1:]), mode="predict")[0]
    torch.testing.assert_close(both.scores, (predicted.scores + other.scores) / 2)
    assert torch.equal(both.index, views.index) and torch.equal(both.label, views.label)


def test_values_class_token_is_the_feature() -> None:
    backbone = VisionTransformer(
        pretrain_img_size=32, patch_size=16, embed_dims=12, depth=1, num_heads=2
    )
    model = ImageClassifier(backbone.eval(), HEAD)
    images = batch().images[0]
    token = backbone.view_and_map(images)[0]
    torch.testing.assert_close(model.logits(images), model.head(token))


def test_raises_on_contradictions() -> None:
    for options, message in (
        (dict(train_norms=True, frozen=False), "train_norms=True is for frozen=True"),
        (dict(multi_label=True, label_smoothing=0.1), "are for images of one class"),
        (dict(multi_label=True, batch_mix=dict(type="BatchMix")), "are for images of one class"),
        (dict(momentum=0.9), "it is for frozen=False"),
        (dict(reduction="sum"), "are for multi_label=True"),
        (dict(leave_out_difficult=True), "are for multi_label=True"),
    ):
        with pytest.raises(ValueError, match=message):
            classifier(**options)
    with pytest.raises(ValueError, match="one view per image, got 2"):
        classifier()(batch(views=2), mode="loss")
    with pytest.raises(ValueError, match="mode must be"):
        classifier()(batch(), mode="guess")


def test_values_grad_of_finetuning_reaches_the_stem() -> None:
    model = classifier(frozen=False)
    model(batch(), mode="loss")["loss"].backward()
    stem = next(m for m in model.backbone.modules() if isinstance(m, nn.Conv2d))
    assert stem.weight.grad.abs().sum() > 0
    with torch.no_grad():
        assert not model.logits(batch().images[0]).requires_grad
