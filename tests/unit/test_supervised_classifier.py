"""ImageClassifier trained from scratch: images mixed within the batch, averaged weights, dropout."""

from __future__ import annotations

import copy

import pytest
import torch
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from mmssl.evaluation.features import select_backbone
from mmssl.losses import class_cross_entropy, mixed_targets
from mmssl.models.algorithms import ImageClassifier
from mmssl.models.heads import LinearHead
from mmssl.models.layers.batch_mix import cut_rectangle
from tests.helpers.tiny import TinyBackbone
from tests.unit.test_image_classifier import HEAD, batch, classifier, train


@pytest.fixture(autouse=True)
def _scope() -> None:
    init_default_scope("mmssl")


class Reversed(nn.Module):
    """A quarter of the image in reverse order of the batch."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        same = torch.eye(len(images))
        return 0.75 * images + 0.25 * images.flip(0), 0.75 * same + 0.25 * same.flip(0)


def test_equivalence_mixed_loss_is_a_sum_over_classes() -> None:
    """Of hard labels without smoothing: the mixed loss is that of either label, by its share."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0, 3, 2, 2, 1])
    same = torch.eye(5, dtype=torch.float64)
    share = 0.7 * same + 0.3 * same.flip(0)
    for smoothing in (0.0, 0.2):
        first, second = (
            class_cross_entropy(logits, order, label_smoothing=smoothing)
            for order in (labels, labels.flip(0))
        )
        found = class_cross_entropy(logits, labels, label_smoothing=smoothing, share=share)
        torch.testing.assert_close(found, 0.7 * first + 0.3 * second)
    unmixed = class_cross_entropy(logits, labels, label_smoothing=0.1, share=same)
    torch.testing.assert_close(unmixed, class_cross_entropy(logits, labels, label_smoothing=0.1))


def test_gradcheck_mixed_loss() -> None:
    logits = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    same = torch.eye(4, dtype=torch.float64)
    torch.autograd.gradcheck(
        lambda z: class_cross_entropy(
            z,
            torch.tensor([0, 1, 2, 0]),
            label_smoothing=0.1,
            share=0.6 * same + 0.4 * same.flip(0),
        ),
        logits,
    )


def test_values_targets_under_autocast_are_exact() -> None:
    labels, share = torch.tensor([0, 1]), torch.tensor([[0.7, 0.3], [0.3, 0.7]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        targets = mixed_targets(labels, share, 10, label_smoothing=0.1)
    assert targets.dtype == torch.float32
    torch.testing.assert_close(targets.sum(1), torch.ones(2))
    torch.testing.assert_close(targets[0, 0], torch.tensor(0.7 * 0.91 + 0.3 * 0.01))


@pytest.mark.parametrize("size", [(8, 8), (7, 13), (1, 5)])
def test_values_rectangle_covers_what_it_says(size: tuple[int, int]) -> None:
    for row in range(size[0]):
        for column in range(size[1]):
            for share in (0.0, 0.3, 0.9, 1.0):
                rows, columns, left = cut_rectangle(size, share, (row, column))
                covered = torch.zeros(size)
                covered[rows, columns] = 1
                assert left == pytest.approx(1 - covered.mean().item())
                assert covered.mean() <= 1 - share + 1e-6


def test_equivalence_classifier_trains_on_the_mixed_batch() -> None:
    model = classifier(frozen=False, batch_mix=Reversed(), label_smoothing=0.1)
    views = batch()
    found = model(views, mode="loss")
    assert set(found) == {"loss"}
    images, share = Reversed()(views.images[0])
    expected = class_cross_entropy(
        classifier(frozen=False).logits(images), views.label, label_smoothing=0.1, share=share
    )
    torch.testing.assert_close(found["loss"], expected)
    built = classifier(frozen=False, batch_mix=dict(type="BatchMix"))
    torch.manual_seed(1)
    assert built(views, mode="loss")["loss"].isfinite()


def test_state_the_average_is_validated_and_moves_with_steps_alone() -> None:
    model = classifier(frozen=False, momentum=0.5)
    start = copy.deepcopy(model.twin.state_dict())
    train(model, batch(), steps=1)
    assert all(torch.equal(value, start[name]) for name, value in model.twin.state_dict().items())
    before = copy.deepcopy(model.twin.state_dict())
    model.twin.update(model, 0, 3)
    for name in ("backbone", "head"):
        online = model.get_submodule(name).state_dict()
        for key, value in model.twin.get_submodule(name).state_dict().items():
            old = before[f"{name}.{key}"]
            expected = 0.5 * old + 0.5 * online[key] if old.is_floating_point() else online[key]
            torch.testing.assert_close(value, expected)
    (found,) = model.eval()(batch(), mode="predict")
    images = batch().images[0]
    averaged = model.twin.head(model.twin.backbone(images)[-1].mean(dim=(2, 3)))
    torch.testing.assert_close(found.scores, averaged)
    assert not torch.allclose(found.scores, model.logits(images))
    assert select_backbone(model, "twin") is model.twin.backbone


def test_state_keys_of_the_average() -> None:
    plain = set(classifier(frozen=False).state_dict())
    model = classifier(frozen=False, momentum=0.9999)
    assert set(model.state_dict()) - plain == {f"twin.{key}" for key in plain} | {
        "twin.num_updates"
    }
    assert not any(parameter.requires_grad for parameter in model.twin.parameters())
    other = classifier(frozen=False, momentum=0.9999)
    other.load_state_dict(model.state_dict())


def test_values_dropout_of_the_head() -> None:
    torch.manual_seed(0)
    head = LinearHead(4000, 2, dropout=0.25, init_std=None)
    nn.init.ones_(head.fc.weight)
    nn.init.zeros_(head.fc.bias)
    kept = head.train()(torch.ones(1, 4000))[0, 0] * 0.75 / 4000
    assert kept.item() == pytest.approx(0.75, abs=0.02)
    assert head.eval()(torch.ones(1, 4000))[0, 0] == 4000
    twin = ImageClassifier(
        TinyBackbone((3,)), dict(HEAD, dropout=0.25), frozen=False, momentum=0.9
    ).twin
    assert twin.head.dropout.p == 0
    with pytest.raises(ValueError, match="dropout must lie"):
        LinearHead(4, 2, dropout=1.0)


def test_equivalence_the_head_can_start_as_torch_has_it() -> None:
    torch.manual_seed(0)
    head = LinearHead(64, 8, init_std=None)
    torch.manual_seed(0)
    plain = nn.Linear(64, 8)
    assert torch.equal(head.fc.weight, plain.weight) and torch.equal(head.fc.bias, plain.bias)
    assert LinearHead(64, 8).state_dict().keys() == head.state_dict().keys()
