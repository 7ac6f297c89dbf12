"""Losses of classifiers: hand-computed values, equivalences, gradients, messages."""

from __future__ import annotations

import math

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from mmssl.losses import class_cross_entropy, multi_label_cross_entropy

LABELS = torch.tensor([[1, -1, 0], [-1, 1, 1]], dtype=torch.int8)


def logits(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()


def test_values_by_hand() -> None:
    two = torch.tensor([[0.0, math.log(3.0)], [math.log(4.0), 0.0]], dtype=torch.float64)
    single = class_cross_entropy(two, torch.tensor([1, 0]))
    assert single.item() == pytest.approx(-(math.log(3 / 4) + math.log(4 / 5)) / 2)
    labels = torch.tensor([[1, -1], [0, 1]], dtype=torch.int8)
    # sigmoid: 1/2, 3/4, 4/5, 1/2; a difficult object counts as absent
    terms = [math.log(1 / 2), math.log(1 / 4), math.log(1 / 5), math.log(1 / 2)]
    assert multi_label_cross_entropy(two, labels, reduction="sum").item() == pytest.approx(
        -sum(terms)
    )
    assert multi_label_cross_entropy(two, labels).item() == pytest.approx(-sum(terms) / 4)
    left = multi_label_cross_entropy(two, labels, leave_out_difficult=True)
    assert left.item() == pytest.approx(-(sum(terms) - math.log(1 / 5)) / 3)


def test_equivalence_one_class_of_two_is_a_difference() -> None:
    """Softmax over (0, z) is the sigmoid of z."""
    z = logits()[:, 0]
    pair = torch.stack([torch.zeros_like(z), z], dim=1)
    single = class_cross_entropy(pair, torch.tensor([1, 0]))
    binary = multi_label_cross_entropy(z[:, None], torch.tensor([[1], [-1]]))
    torch.testing.assert_close(single, binary)
    smooth = class_cross_entropy(logits(), torch.tensor([0, 2]), label_smoothing=0.3)
    targets = torch.full((2, 3), 0.1, dtype=torch.float64)
    targets[0, 0] = targets[1, 2] = 0.8
    torch.testing.assert_close(smooth, -(targets * logits().log_softmax(1)).sum(1).mean())


def test_gradcheck() -> None:
    torch.autograd.gradcheck(lambda z: class_cross_entropy(z, torch.tensor([2, 0])), logits())
    for options in (dict(), dict(reduction="sum"), dict(leave_out_difficult=True)):
        torch.autograd.gradcheck(
            lambda z: multi_label_cross_entropy(z, LABELS, **options), logits()
        )


def test_values_half_precision_is_computed_in_single() -> None:
    z = (100 * logits()).bfloat16()
    assert class_cross_entropy(z, torch.tensor([0, 1])).dtype == torch.float32
    expected = F.binary_cross_entropy_with_logits(z.float(), (LABELS > 0).float())
    torch.testing.assert_close(multi_label_cross_entropy(z, LABELS), expected)


@pytest.mark.parametrize("mixed", [False, True])
def test_shapes_of_a_loss_that_never_waits_for_a_gpu(mixed: bool) -> None:
    """A fake tensor has no values: whatever read one on the host would raise, as it would make a GPU wait."""
    with FakeTensorMode():
        z = torch.zeros(4, 3, device="cuda", requires_grad=True)
        share = torch.zeros(4, 4, device="cuda") if mixed else None
        labels = torch.zeros(4, dtype=torch.int64, device="cuda")
        loss = class_cross_entropy(z, labels, label_smoothing=0.1, share=share)
        assert loss.shape == () and loss.device.type == "cuda"


def test_raises_on_labels_that_do_not_fit() -> None:
    for labels, message in (
        (LABELS, r"the form \(2, 3\). Images with several classes need multi_label=True"),
        (torch.tensor([0, -1]), r"must lie in 0..2, got -1..0"),
        (torch.tensor([3, 0]), r"must lie in 0..2, got 0..3"),
    ):
        with pytest.raises(ValueError, match=message):
            class_cross_entropy(logits(), labels)
    with pytest.raises(ValueError, match=r"for each of 3 classes, got labels of the form \(2,\)"):
        multi_label_cross_entropy(logits(), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="Every label of the batch is 0"):
        multi_label_cross_entropy(logits(), 0 * LABELS, leave_out_difficult=True)
