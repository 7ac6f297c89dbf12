"""ViL against the official EsViT: features at two sizes, keys, shared weights under two names."""

from __future__ import annotations

import re
import warnings

import pytest
import torch

from mmssl.convert.official.vil import vil_from_official, vil_to_official
from mmssl.models.backbones import ViL
from tests.helpers.goldens import Golden, official_keys
from tests.helpers.multi_crop import check_views_and_regions, load_filled

pytestmark = pytest.mark.parity


def built(golden: Golden) -> ViL:
    """Our network of a case, with the filled weights through our converter."""
    text = golden.entry["built"]
    stages = [
        {part[0]: int(part[1:]) for part in stage.split(",")}
        for stage in re.search(r'"(l1,[^"]+)"', text)[1].split("_")
    ]

    def row(letter: str) -> tuple[int, ...]:
        return tuple(stage[letter] for stage in stages)

    network = ViL(
        row("d"),
        depths=row("n"),
        num_heads=row("h"),
        sparse=tuple(bool(value) for value in row("s")),
        num_global_tokens=row("g"),
        patch_sizes=row("p"),
        window_sizes=row("f"),
        pretrain_img_size=int(re.search(r"img_size=(\d+)", text)[1]),
    )
    # shared tensors are filled by each of their names
    with pytest.warns(UserWarning, match="projections of global tokens differ"):
        load_filled(network, vil_to_official, vil_from_official)
    return network.eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_forward(dtype: torch.dtype) -> None:
    golden = Golden("esvit", "vil")
    check_views_and_regions(golden, built(golden).to(dtype), dtype)


def test_state_official_keys_are_complete() -> None:
    """Every key of the published backbone has a place of its shape, and the way back gives all of them."""
    listed = official_keys("esvit")["esvit_vil_2262"]
    wanted = {
        key: torch.Size(shape)
        for key, shape in listed["keys"]
        if not key.startswith("head")
    }  # fmt: skip
    with torch.device("meta"):
        network = ViL()
        state = {key: torch.empty(shape) for key, shape in wanted.items()}
    ours = vil_from_official(state)
    expected = {key: value.shape for key, value in network.state_dict().items()}
    assert {key: value.shape for key, value in ours.items()} == expected
    back = {key: value.shape for key, value in vil_to_official(ours).items()}
    assert back == {
        key: shape for key, shape in wanted.items() if not key.endswith("relative_position_index")
    }
    assert sum(p.numel() for p in network.parameters()) == listed["backbone_parameters"]


def test_state_round_trip() -> None:
    torch.manual_seed(0)
    network = ViL((4, 4, 8, 8), depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2))
    state = {key: torch.randn_like(value) for key, value in network.state_dict().items()}
    back = vil_from_official(vil_to_official(state))
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)


def test_values_of_shared_weights_under_two_names() -> None:
    """Equal under both names: nothing is said. Different: a warning, and the global tokens' weights win."""
    network = ViL((4, 4, 8, 8), depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2))
    theirs = vil_to_official(network.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vil_from_official(theirs)
    name = "layer1.1.attn.kv_global.weight"
    theirs[name] = theirs[name] + 1
    with pytest.warns(UserWarning, match=r"1 projections .*kv_global.*SHARE_W"):
        ours = vil_from_official(theirs)
    assert torch.equal(ours["layer1.1.attn.kv.weight"], theirs[name])


def test_raises_foreign_keys() -> None:
    with pytest.raises(KeyError, match="head.weight"):
        vil_from_official({"head.weight": torch.zeros(1)})
