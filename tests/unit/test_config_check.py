"""Planted mistakes in configs: each gets a message with the place and the name that was meant."""

from __future__ import annotations

import pytest

from mmssl.engine.config import load_config
from mmssl.engine.config_check import ConfigError
from tests.helpers.processes import ROOT
from tests.helpers.schedules import schedules_of

LEAF = ROOT / "configs/care/care_resnet50_8xb128-coslr-100e_in1k.py"


CLUSTERS = dict(type="ClusterHook", views=None)


PIC = ROOT / "configs/pic/pic_resnet50_4xb64-coslr-200e_in1k_sampled.py"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"model.head.num_negative": 5}, ["model.head.num_negative:", "'num_negatives'"]),
        ({"model.head.num_instance": 5}, ["InstanceClassifier takes no", "'num_instances'"]),
        ({"train_dataloader.sampler.strid": 5}, ["train_dataloader.sampler.strid:", "'stride'"]),
        ({"train_dataloader.sampler.mod": "mod"}, ["SlidingWindowSampler takes no", "'mode'"]),
        ({"train_cfg.max_epoch": 5}, ["WindowLoop takes no 'max_epoch'", "'max_epochs'"]),
        ({"param_scheduler.0.start_rate": 0.1}, ["param_scheduler[0].start_rate", "'start_ratio'"]),
        ({"auto_scale_lr.rul": "sqrt"}, ["auto_scale_lr.rul", "'rule'"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_raises_and_names_the_nearest_of_pic(overrides, words):
    with pytest.raises(ConfigError) as error:
        load_config(PIC, overrides)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"model.t_stream.num_block": 3}, ["model.t_stream.num_block", "'num_blocks'"]),
        ({"model.backbone.depht": 18}, ["model.backbone.depht", "'depth'"]),
        ({"model.type": "CAER"}, ["model.type = 'CAER'", "'CARE'"]),
        ({"model.backbone.type": "Resnet"}, ["model.backbone.type", "'ResNet'"]),
        ({"train_dataloader.dataset.rooot": "x"}, ["train_dataloader.dataset.rooot", "'root'"]),
        ({"train_dataloader.sampler.shufle": True}, ["sampler.shufle", "'shuffle'"]),
        ({"train_cfg.max_epoch": 5}, ["train_cfg.max_epoch", "'max_epochs'"]),
        ({"default_hooks.checkpoint.type": "CheckpointHok"}, ["CheckpointHok", "'CheckpointHook'"]),
        ({"default_hooks.collapse.intervall": 5}, ["collapse.intervall", "'interval'"]),
        ({"default_hooks.checkpoint.interal": 2}, ["checkpoint.interal", "'interval'"]),
        ({"env_cfg.cudnn_bench": True}, ["env_cfg.cudnn_bench", "'cudnn_benchmark'"]),
        ({"auto_scale_lr": dict(base_batch_sise=3)}, ["base_batch_sise", "'base_batch_size'"]),
        ({"optim_wrapper.clip_grad": dict(type="per_tenser")}, ["clip_grad.type", "'per_tensor'"]),
        ({"custom_hooks": [CLUSTERS | dict(beginepoch=3)]}, ["[0].beginepoch", "'begin_epoch'"]),
        ({"custom_hooks": [CLUSTERS | dict(stored_dtype="")]}, [".stored_dtype", "'store_dtype'"]),
        ({"custom_hooks": [CLUSTERS | dict(clusterer=dict(type="KMean"))]}, ["'KMean'", "none of"]),
        (
            {"custom_hooks": [CLUSTERS | dict(clusterer=dict(type="KMeans", restart=1))]},
            ["clusterer.restart", "'restarts'"],
        ),
        (
            {"custom_hooks": [CLUSTERS | dict(views=dict(type="MultiView", veiws=[]))]},
            ["[0].views.veiws", "'views'"],
        ),
        ({"optim_wraper": dict(type="OptimWrapper")}, ["'optim_wraper'", "'optim_wrapper'"]),
        (
            {"param_scheduler": [dict(_delete_=True, type="WarmupCosineLR")]},
            ["param_scheduler[0]._delete_", "leave _delete_ out"],
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_raises_and_names_the_nearest(overrides, words):
    with pytest.raises(ConfigError) as error:
        load_config(LEAF, overrides)
    for word in words:
        assert word in str(error.value)


def test_raises_with_file_and_line(tmp_path):
    config = tmp_path / "config.py"
    config.write_text(f"_base_ = {str(LEAF)!r}\n\nmodel = dict(\n    lamda_att=3.0,\n)\n")
    with pytest.raises(ConfigError, match=r"config\.py:4\).*Did you mean 'lambda_att'"):
        load_config(config)


def test_raises_for_backends_that_nothing_reads(tmp_path):
    """A base has made its visualizer of its own `vis_backends`: those of a leaf would be lost."""
    config = tmp_path / "config.py"
    chosen = "[dict(type='LocalVisBackend')]"
    config.write_text(f"_base_ = {str(LEAF)!r}\nvis_backends = {chosen}\n")
    with pytest.raises(ConfigError, match=r"config\.py:2\).*visualizer = dict\(vis_backends="):
        load_config(config)
    with pytest.raises(ConfigError, match=r"the key is visualizer\.vis_backends"):
        load_config(LEAF, {"vis_backends": []})
    (tmp_path / "child.py").write_text('_base_ = "config.py"\n')
    with pytest.raises(ConfigError, match=r"config\.py:2\)"):
        load_config(tmp_path / "child.py")
    config.write_text(f"_base_ = {str(LEAF)!r}\nvisualizer = dict(vis_backends={chosen})\n")
    assert load_config(config).visualizer.vis_backends == [dict(type="LocalVisBackend")]


def test_raises_for_an_override_of_no_key():
    with pytest.raises(ConfigError, match=r"'modle\.lambda_att' changes nothing.*mean 'model'"):
        load_config(LEAF, {"modle.lambda_att": 3.0})
    assert load_config(LEAF, {"find_unused_parameters": True}).find_unused_parameters


def test_raises_for_a_missing_file():
    with pytest.raises(FileNotFoundError, match=r"no_such\.py does not exist"):
        load_config("no_such.py")


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / "configs").glob("*/*.py")),
    ids=lambda path: path.name,
)
def test_every_pretraining_leaf_is_correct(path):
    """Parses, passes the check, builds its schedules; its dump is read back to the same dictionary."""
    if path.parent.name == "_base_":
        pytest.skip("a base is no whole config")
    config = load_config(path)
    if config.get("default_scope") == "mmssl":
        built = schedules_of(config, epoch_length=3)
        assert len(built) == len(config.param_scheduler)
    assert type(config).fromstring(config.pretty_text, ".py").to_dict() == config.to_dict()
