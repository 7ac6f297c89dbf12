"""MoBY state dicts to the official layout and back."""

from __future__ import annotations

import pytest
import torch

from mmssl.convert.key_map import check_complete
from mmssl.convert.official.moby import from_official, model_config, to_official
from mmssl.models.algorithms import MoBY
from mmssl.models.backbones import Swin
from mmssl.registry import MODELS


def tiny(num_layers: int = 2) -> MoBY:
    swin = Swin(
        8, depths=(1, 2), num_heads=(1, 2), window_size=4, pretrain_img_size=64, out_indices=(1,)
    )
    sizes = dict(hid_channels=6, num_layers=num_layers)
    model = MoBY(
        swin,
        dict(type="MLPNeck", out_channels=5, **sizes),
        dict(type="MLPPredictor", **sizes),
        queue_length=7,
    )
    for value in (*model.parameters(), *model.buffers()):
        if value.is_floating_point():
            torch.nn.init.normal_(value.detach())
        else:
            value.fill_(3)
    return model


@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_state_round_trip(num_layers):
    torch.manual_seed(0)
    state = tiny(num_layers).state_dict()
    theirs = to_official(state)
    assert (theirs["queue1"].shape, theirs["queue_ptr"].tolist()) == ((5, 7), [3])
    torch.testing.assert_close(theirs["queue2"].T, state["queues.1.features"])
    for prefix in ("", "module."):
        back = from_official({prefix + key: value for key, value in theirs.items()}, num_updates=3)
        assert back.keys() == state.keys()
        assert all(torch.equal(back[key], state[key]) for key in state)


def test_values_names_of_the_layers():
    theirs = to_official(tiny(3).state_dict())
    names = {key for key in theirs if key.startswith("projector_k.") and key.endswith("weight")}
    layers = (
        "linear_hidden.1",
        "linear_hidden.2",
        "linear_hidden.4",
        "linear_hidden.5",
        "linear_out",
    )
    assert names == {f"projector_k.{layer}.weight" for layer in layers}
    assert (
        "encoder_k.norm.weight" in theirs and "encoder.layers.1.blocks.1.attn.qkv.weight" in theirs
    )


def test_state_linear_evaluation_round_trip():
    state = {k: v for k, v in tiny().state_dict().items() if k.startswith("backbone.")}
    state |= {"head.fc.weight": torch.randn(4, 16), "head.fc.bias": torch.randn(4)}
    theirs = to_official(state)
    assert {"head.weight", "head.bias", "norm.weight"} <= set(theirs)
    back = from_official(theirs)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)


def test_state_vision_transformers_keep_their_names():
    names = ["cls_token", "pos_embed", "blocks.0.attn.qkv.weight", "norm.bias"]
    theirs = {f"{part}.{name}": 0 for part in ("encoder", "encoder_k") for name in names}
    ours = from_official(theirs)
    assert ours.pop("twin.num_updates") == 1
    assert list(ours) == [
        f"{part}.{name}" for part in ("backbone", "twin.backbone") for name in names
    ]
    assert to_official(ours) == theirs


@pytest.mark.parametrize("num_layers", [2, 3])
def test_state_config_of_the_weights_builds_their_model(num_layers):
    state = tiny(num_layers).state_dict()
    config = model_config(state)
    assert (config["backbone"]["norm_eps"], config["backbone"]["drop_path_rate"]) == (1e-5, 0.2)
    with torch.device("meta"):
        check_complete(state, MODELS.build(config).state_dict())


def test_raises():
    with pytest.raises(KeyError, match="no known part"):
        from_official({"encoder.pos_embed": 1, "center": 2})
    with pytest.raises(KeyError, match="backbone is none of"):
        from_official({"encoder.conv1.weight": 1})
    with pytest.raises(KeyError, match="backbone is none of"):
        from_official({"conv1.weight": 1})
    with pytest.raises(KeyError, match="no known part"):
        to_official({"backbone.pos_embed": 1, "center": 2})
    with pytest.raises(ValueError, match="at least 1"):
        from_official({}, num_updates=0)
