"""Correspondence and attention entropy against `analyze_models.py` of EsViT, on given features."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmssl.evaluation.attention_entropy import attention_entropy
from mmssl.evaluation.correspondence import mirrored_scores
from tests.helpers.fill import image
from tests.helpers.goldens import Golden

pytestmark = pytest.mark.parity
DTYPES = [torch.float32, torch.float64]


def regions(golden: Golden) -> tuple[Tensor, Tensor]:
    """Features (N, C, h, w) of the views and of the mirrored views of all pairs of a case."""
    side = int(golden.entry["arch"].split("x")[0].split()[-1])
    views, mirrored = [], []
    for number, kind in enumerate(golden.entry["kinds"]):
        name = f"{golden.case}/{number}"
        a = image(f"{name}/a", (side**2, 20)).view(side, side, 20)
        noise = image(f"{name}/noise", (side**2, 20)).view(side, side, 20)
        b = {
            "flip": a.flip(1) + 0.2 * noise,
            "noisy": a.flip(1) + 1.2 * noise,
            "shifted": a.flip(1).roll(1, 1) + 0.2 * noise,
            "same": a + 0.2 * noise,
            "random": image(f"{name}/b", (side**2, 20)).view(side, side, 20),
        }[kind]
        views.append(a.permute(2, 0, 1))
        mirrored.append(b.permute(2, 0, 1))
    return torch.stack(views), torch.stack(mirrored)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", ["correspondence", "correspondence_deit"])
def test_values_correspondence(case: str, dtype: torch.dtype) -> None:
    golden = Golden("esvit", case)
    first, second = (part.to(dtype) for part in regions(golden))
    scores = mirrored_scores(first, second, image_size=(224, 224))
    golden.check("accuracy", scores.accuracy)
    golden.check("distance", scores.distance)
    golden.check("sim11", scores.next_similarity)


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_attention_entropy(dtype: torch.dtype) -> None:
    golden = Golden("esvit", "attention_entropy")
    logits = image("attention_entropy/logits", (2, 4, 49, 49)).to(dtype)
    entropy = attention_entropy((2 * logits).softmax(-1))[0]
    golden.check("entropy", entropy.T)
    golden.check("mean", entropy.mean(dim=1))
    golden.check("sorted0", entropy[:, 0].sort(descending=True).values)
