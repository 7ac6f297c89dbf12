"""Settings of recipes by dotted name: defaults included, differences found, absent parts told once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import nn

from mmssl.engine.config import load_config
from mmssl.engine.recipe_settings import ABSENT, differing, recipe_settings
from mmssl.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]
MOCO = "moco/mocov2_resnet50_8xb32-coslr-200e_in1k.py"
CARE = "care/care_resnet50_8xb128-coslr-100e_in1k.py"
SWAV = "swav/swav_resnet50_64xb64-mcrop-2-6-coslr-100e_in1k.py"


def settings(leaf: str) -> dict[str, str]:
    return recipe_settings(load_config(ROOT / "configs" / leaf))


@pytest.fixture
def head() -> Iterator[type]:
    """A registered class with an argument that has a default."""

    @MODELS.register_module(name="HeadWithDefault")
    class Head(nn.Module):
        def __init__(self, width: int, temperature: float = 0.2) -> None:
            super().__init__()

    yield Head
    del MODELS.module_dict["HeadWithDefault"]


def test_values_defaults_of_the_code_are_settings(head: type) -> None:
    config = dict(model=dict(head=dict(type="HeadWithDefault", width=3)))
    assert recipe_settings(config) == {
        "model.head": "HeadWithDefault",
        "model.head.width": "3",
        "model.head.temperature": "0.2",
    }


def test_values_a_changed_default_changes_the_table(head: type) -> None:
    config = dict(model=dict(head=dict(type="HeadWithDefault", width=3)))
    before = recipe_settings(config)
    head.__init__.__defaults__ = (0.1,)
    assert differing([before, recipe_settings(config)]) == {
        "model.head.temperature": ["0.2", "0.1"]
    }


def test_values_a_default_that_is_written_out_differs_in_nothing() -> None:
    config = load_config(ROOT / "configs" / MOCO)
    before = recipe_settings(config)
    config.model.momentum = 0.999
    config.model.backbone.frozen_stages = -1
    assert differing([before, recipe_settings(config)]) == {}


def test_values_no_setting_takes_the_row_of_another() -> None:
    """`Resize.size` and `KNNHook.k` are settings of their own, whatever their part is called."""
    transforms = [dict(type="Resize", size=64), dict(type="RandomGrayscale", prob=0.2)]
    views = dict(type="MultiView", views=[dict(num=1, transforms=transforms)])
    hooks = [dict(type="KNNHook", k=7, train={}, val={})]
    rows = recipe_settings(
        dict(train_dataloader=dict(dataset=dict(views=views)), custom_hooks=hooks)
    )
    assert rows["views.0.Resize.size"] == "64" and rows["views.0"] == "Resize, RandomGrayscale"
    assert rows["custom_hooks.KNNHook"] == "KNNHook" and rows["custom_hooks.KNNHook.k"] == "7"


@pytest.mark.parametrize(
    "change",
    [
        dict(
            model=dict(backbone=dict(init_cfg=dict(type="PretrainedBackbone", checkpoint="a.pth")))
        ),
        dict(model_wrapper_cfg=dict(find_unused_parameters=True)),
        dict(train_dataloader=dict(drop_last=False)),
        dict(load_from="a.pth"),
    ],
)
def test_values_what_a_run_starts_from_and_loses_is_told(change: dict) -> None:
    config = load_config(ROOT / "configs" / MOCO)
    before = recipe_settings(config)
    config.merge_from_dict(change)
    assert differing([before, recipe_settings(config)])


def test_values_what_makes_pcl_of_moco() -> None:
    rows = differing([settings(MOCO), settings("pcl/pcl-v2_resnet50_8xb32-coslr-200e_in1k.py")])
    assert rows == {
        "model": ["MoCo", "PCL"],
        "model.queue_length": ["65536", "16384"],
        "model.num_negatives": [ABSENT, "16384"],
        "model.prototypes": [ABSENT, "Prototypes"],
        "custom_hooks.ClusterHook": [ABSENT, "ClusterHook"],
    }


def test_values_views_are_told_one_by_one() -> None:
    rows = differing([settings(MOCO), settings(CARE), settings(SWAV)])
    assert rows["views.1.GaussianBlur.prob"] == ["0.5", "0.1", "0.5"]
    assert rows["views.1.Solarize"] == [ABSENT, "Solarize", ABSENT]
    assert not any(name.startswith("views.1.Solarize.") for name in rows)
    assert [f"views.{number}" in rows for number in (7, 8)] == [True, False]
    assert not any(name.startswith("views.7.") for name in rows)


def test_values_relatives_stand_together() -> None:
    names = list(differing([settings(MOCO), settings(CARE), settings(SWAV)]))
    owners = [name.partition(".")[0] for name in names]
    assert owners == sorted(owners, key=owners.index)
    parts = [name for name in names if name.startswith("optim_wrapper.optimizer")]
    first = names.index(parts[0])
    assert names[first : first + len(parts)] == parts


def test_values_several_of_one_type_are_numbered() -> None:
    config = dict(
        custom_hooks=[dict(type="FreezeHook", epochs=1), dict(type="FreezeHook", epochs=2)]
    )
    rows = recipe_settings(config)
    assert rows["custom_hooks.FreezeHook.epochs"] == "1"
    assert rows["custom_hooks.FreezeHook#2.epochs"] == "2"


def test_values_everything_includes_what_agrees() -> None:
    own = settings(MOCO)
    assert differing([own, own]) == {}
    assert set(differing([own, own], everything=True)) == set(own)
