"""Options that say which views of a batch take part: codes of SwAV, mixing of DINO."""

from __future__ import annotations

import pytest
import torch

from mmssl.losses import unit_norm
from mmssl.models.backbones import crop_features
from mmssl.ops.sinkhorn import balanced_codes
from mmssl.structures import Progress
from tests.helpers.tiny import tiny_dino, tiny_swav, tiny_views


@pytest.mark.parametrize("number", [1, 2, 3])
def test_values_the_first_views_give_codes(number: int) -> None:
    """Each view but its own is asked for the code of each of them."""
    torch.manual_seed(0)
    model = tiny_swav(num_code_views=number, queue_length=0)
    views = tiny_views(num=3)
    loss = model.loss(views)["loss"]
    model.head.normalize()
    features = crop_features(model.backbone, views.images).views.transpose(0, 1)
    scores = model.head(unit_norm(model.neck(features.flatten(0, 1)))).unflatten(0, (3, -1))
    terms = []
    for code_view in range(number):
        code = balanced_codes(scores[code_view].detach(), epsilon=0.05, num_iterations=3)
        for view in set(range(3)) - {code_view}:
            said = (scores[view] / model.temperature).log_softmax(dim=1)
            terms.append(-(code * said).sum(dim=1).mean())
    torch.testing.assert_close(loss, torch.stack(terms).mean())


def test_raises_for_fewer_views_than_codes() -> None:
    with pytest.raises(ValueError, match="view"):
        tiny_swav(num_code_views=3, queue_length=0).loss(tiny_views(num=2))


@pytest.mark.parametrize("number", [0, 1, 2])
def test_values_the_first_views_are_mixed(number: int) -> None:
    torch.manual_seed(0)
    mix = dict(type="BatchMix", mixup_alpha=0.8, cutmix_alpha=0.0)
    model = tiny_dino(mixup=mix, num_mixup_views=number)
    model.progress = Progress(0, 100, 0, 10)
    images = tiny_views(num=3).images
    seen, shares = model._mixed(images)
    assert shares is not None and shares.shape == (3, len(images[0]), len(images[0]))
    for view in range(3):
        assert torch.equal(seen[view], images[view]) == (view >= number)
        assert torch.equal(shares[view], torch.eye(len(images[0]))) == (view >= number)
    assert torch.isfinite(model.loss(tiny_views(num=3))["loss"])
