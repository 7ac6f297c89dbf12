"""Converting CARE checkpoints: renaming both ways, errors, the config a file implies."""

from __future__ import annotations

import pytest
import torch

from mmssl.convert.convert_file import convert_file
from mmssl.convert.key_map import Rename, check_complete, rename_keys
from mmssl.convert.official.care import from_official, model_config, to_official
from mmssl.models.algorithms import CARE
from mmssl.registry import MODELS


def small_care(pos_enc: str = "relative", depth: int = 18, num_blocks: int = 3) -> CARE:
    norm = dict(type="BN")
    return MODELS.build(
        dict(
            type="CARE",
            backbone=dict(type="ResNet", depth=depth, out_indices=(2, 3)),
            t_stream=dict(
                type="AttentionStack",
                fmap_size=(4, 6),
                num_blocks=num_blocks,
                num_heads=2,
                head_dim=8,
                proj_factor=8,
                pos_enc=pos_enc,
            ),
            projector=dict(hid_channels=12, out_channels=6, norm_cfg=norm),
            predictor=dict(hid_channels=10, norm_cfg=norm),
        )
    )


@pytest.mark.parametrize("pos_enc", ["relative", "absolute"])
def test_equivalence_round_trip_and_config(pos_enc):
    model = small_care(pos_enc)
    official = to_official(model.state_dict())
    assert "student_encoder.trans.net.2.net.3.to_qkv.weight" in official
    assert "teacher_encoder.fc2.3.bias" in official
    assert not any(".fc1.4" in key for key in official if key.startswith("teacher"))
    renamed = {f"module.{k.replace('.trans.', '.bot.')}": v for k, v in official.items()}
    ours = from_official(renamed, num_updates=5)
    assert ours["twin.num_updates"] == 5
    rebuilt = MODELS.build(model_config(ours, norm="BN"))
    check_complete(ours, rebuilt.state_dict())
    for key, value in model.state_dict().items():
        if key != "twin.num_updates":
            assert ours[key] is official.get(key, ours[key])
            assert torch.equal(ours[key], value)
    config = model_config(ours)
    assert config["t_stream"] == dict(
        type="AttentionStack", in_channels=256, out_channels=512, fmap_size=(4, 6), num_blocks=3,
        num_heads=2, head_dim=8, proj_factor=8, downsample=True, pos_enc=pos_enc,
        norm_cfg=dict(type="BN"), in_stage=2,
    )  # fmt: skip
    assert config["backbone"] == dict(
        type="ResNet", depth=18, out_indices=(2, 3), norm_cfg=dict(type="SyncBN")
    )
    assert config["projector"]["hid_channels"] == 12
    assert config["predictor"]["out_channels"] == 6


def test_equivalence_files_both_ways(tmp_path):
    model = small_care()
    torch.save(dict(state_dict=model.state_dict(), meta=dict(epoch=3)), tmp_path / "ours.pth")
    convert_file(tmp_path / "ours.pth", tmp_path / "official.pth", to="official")
    official = torch.load(tmp_path / "official.pth", weights_only=True)
    assert official["start_epoch"] == 3
    assert all(key.startswith("module.") for key in official["model"])
    lines = convert_file(tmp_path / "official.pth", tmp_path / "back.pth", iters_per_epoch=10)
    assert "back.py" in lines[1]
    assert "relative" in (tmp_path / "back.py").read_text()
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    assert back["state_dict"].pop("twin.num_updates") == 30
    for key, value in back["state_dict"].items():
        assert torch.equal(value, model.state_dict()[key]), key
    scope: dict = {}
    exec((tmp_path / "back.py").read_text(), scope)
    assert scope["model"]["type"] == "CARE"


def test_raises_on_foreign_and_damaged_states():
    official = to_official(small_care().state_dict())
    with pytest.raises(KeyError, match="no known part"):
        from_official({**official, "student_encoder.fc3.weight": torch.zeros(1)})
    with pytest.raises(KeyError, match="no known part"):
        from_official({"encoder_q.conv1.weight": torch.zeros(1)})
    ours = from_official(official)
    del ours["projector_c.layers.0.bias"]
    with pytest.raises(KeyError, match="1 missing"):
        check_complete(ours, small_care().state_dict())
    with pytest.raises(ValueError, match="num_updates"):
        from_official(official, num_updates=0)
    with pytest.raises(ValueError, match="blocks per stage"):
        model_config({k: v for k, v in from_official(official).items() if "layer4.1" not in k})


def test_values_key_map():
    rules = [Rename("a.{n:[0-9]+}.{rest}", "b.{n}.{rest}")]
    assert rename_keys({"a.10.w.x": 1}, rules) == {"b.10.w.x": 1}
    assert rename_keys({"b.10.w.x": 1}, rules, backward=True) == {"a.10.w.x": 1}
    with pytest.raises(KeyError, match="no known part"):
        rename_keys({"a.x.w": 1}, rules)
    with pytest.raises(KeyError, match="would both"):
        rename_keys({"a": 1, "b": 2}, [Rename("a", "c"), Rename("b", "c")])
    with pytest.raises(ValueError, match="same fields"):
        Rename("a.{n}", "b")
    with pytest.raises(ValueError, match="has shape"):
        check_complete({"w": torch.zeros(2)}, {"w": torch.zeros(3)})


def test_raises_for_a_checkpoint_of_ours(tmp_path):
    torch.save(dict(state_dict=small_care().state_dict(), meta={}), tmp_path / "ours.pth")
    with pytest.raises(ValueError, match="is a checkpoint of mmssl already; --to official"):
        convert_file(tmp_path / "ours.pth", tmp_path / "out.pth")
    assert not (tmp_path / "out.pth").exists()
