"""What the transfer leaves say, against the protocols of the papers."""

from __future__ import annotations

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.utils import import_modules_from_strings

from mmssl.engine.config import load_config
from tests.helpers.transfer import BENCHMARKS, LEAVES

pytestmark = [pytest.mark.integration, pytest.mark.downstream]

C4 = [leaf for leaf in LEAVES if "-c4_" in leaf]
SWIN = [leaf for leaf in LEAVES if "swin" in leaf]
COCO = [leaf for leaf in LEAVES if leaf.startswith("coco_detection") and leaf not in SWIN]
COCO_SCHEDULES = {
    "1x": ("epochs", 12, [8, 11]),
    "2x": ("epochs", 24, [16, 22]),
    "90k": ("iters", 90000, [60000, 80000]),
    "180k": ("iters", 180000, [120000, 160000]),
}
SEGMENTATION = [leaf for leaf in LEAVES if "segmentation" in leaf]


@pytest.fixture(scope="module")
def configs():
    return {leaf: load_config(BENCHMARKS / leaf) for leaf in LEAVES}


def test_values_every_leaf_asks_for_a_backbone_and_trains_it(configs):
    assert (len(LEAVES) >= 21, len(SWIN)) == (True, 5)
    for leaf, config in configs.items():
        backbone = config.model.backbone
        hooks = [hook.type for hook in config.custom_hooks]
        measured = "detection" in leaf and leaf not in SWIN
        assert config.load_from == "REQUIRED", leaf
        assert hooks[0] == "mmssl.BackboneCheckpointHook", leaf
        assert ("mmssl.PreciseBNHook" in hooks) == measured, leaf
        assert backbone.get("init_cfg") is None, leaf
        assert config.model.get("pretrained") is None, leaf
        assert backbone.get("frozen_stages", -1) == -1, leaf
        preprocessor = config.model.data_preprocessor
        assert preprocessor.bgr_to_rgb, leaf
        assert list(preprocessor.mean) == [123.675, 116.28, 103.53], leaf
        assert list(preprocessor.std) == [58.395, 57.12, 57.375], leaf


def test_values_resnets_train_their_batch_norm(configs):
    for leaf in set(LEAVES) - set(SWIN):
        backbone = configs[leaf].model.backbone
        assert backbone.type == "ResNet", leaf
        assert (backbone.style, backbone.norm_eval) == ("pytorch", False), leaf
        assert backbone.norm_cfg.requires_grad, leaf
        assert backbone.norm_cfg.type == ("BN" if leaf.startswith("shapes") else "SyncBN"), leaf


def test_values_swins_are_the_families_with_esvits_epsilon(configs):
    for leaf in SWIN:
        config = configs[leaf]
        backbone = config.model.backbone
        assert backbone.type == "SwinTransformer", leaf
        assert (backbone.embed_dims, backbone.window_size) == (96, 7), leaf
        assert tuple(backbone.depths) == (2, 2, 6, 2), leaf
        assert tuple(backbone.num_heads) == (3, 6, 12, 24), leaf
        assert (backbone.norm_cfg.type, backbone.norm_cfg.eps) == ("LN", 1e-6), leaf
        assert not backbone.get("convert_weights"), leaf
        coco = leaf.startswith("coco")
        assert backbone.drop_path_rate == (0.2 if coco else 0.3), leaf
        optimizer = config.optim_wrapper.optimizer
        expected = ("AdamW", 1e-4, 0.05) if coco else ("AdamW", 6e-5, 0.01)
        assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == expected, leaf
        keys = config.optim_wrapper.paramwise_cfg.custom_keys
        for key in ("norm", "relative_position_bias_table"):
            assert keys[key].decay_mult == 0, leaf


def test_values_swin_schedules(configs):
    for leaf in SWIN:
        config = configs[leaf]
        warmup, decay = config.param_scheduler
        assert warmup.begin == 0 and not warmup.by_epoch, leaf
        if leaf.startswith("coco"):
            thrice = "3x" in leaf
            assert (warmup.start_factor, warmup.end) == (0.001, 1000), leaf
            assert decay.milestones == ([27, 33] if thrice else [8, 11]), leaf
            assert config.train_cfg.max_epochs == decay.end == (36 if thrice else 12), leaf
            choices = [t for t in config.train_dataloader.dataset.pipeline if "transforms" in t]
            assert len(choices) == thrice, leaf
            for choice in choices:
                scales = choice.transforms[0][0].scales
                assert [scale[0] for scale in scales] == list(range(480, 801, 32)), leaf
                assert choice.transforms[1][1].type == "RandomCrop", leaf
            wrapper = "AmpOptimWrapper" if thrice else "OptimWrapper"
            assert config.optim_wrapper.type == wrapper, leaf
        else:
            iterations = 160000 if leaf.startswith("ade20k") else 20000
            assert (warmup.start_factor, warmup.end) == (1e-6, 1500), leaf
            assert (decay.begin, decay.end, decay.power) == (1500, iterations, 1.0), leaf
            assert config.train_cfg.max_iters == iterations, leaf
            classes = 150 if leaf.startswith("ade20k") else 21
            for head in (config.model.decode_head, config.model.auxiliary_head):
                assert head.num_classes == classes, leaf


def test_values_every_leaf_survives_a_dump(configs):
    for leaf, config in configs.items():
        again = Config.fromstring(config.pretty_text, ".py")
        assert again.to_dict() == config.to_dict(), leaf


def test_values_c4(configs):
    for leaf in C4:
        model = configs[leaf].model
        head = model.roi_head.shared_head
        assert (model.backbone.num_stages, list(model.backbone.out_indices)) == (3, [2]), leaf
        assert (head.type, head.depth, head.stage) == ("mmssl.ResLayerExtraNorm", 50, 3), leaf
        assert head.norm_cfg == dict(type="SyncBN", requires_grad=True), leaf
        assert (head.style, head.norm_eval, head.init_cfg) == ("pytorch", False, None), leaf
        assert model.train_cfg.rpn.allowed_border == -1, leaf
        assert configs[leaf].optim_wrapper.paramwise_cfg.norm_decay_mult == 0, leaf
        assert configs[leaf].optim_wrapper.optimizer.lr == 0.02, leaf


def test_values_voc_detection(configs):
    (leaf,) = [leaf for leaf in LEAVES if leaf.startswith("voc_detection")]
    config = configs[leaf]
    assert config.train_cfg.max_iters == 24000
    warmup, steps = config.param_scheduler
    assert (warmup.start_factor, warmup.end) == (0.001, 100)
    assert (steps.milestones, steps.end) == ([18000, 22000], 24000)
    thresholds = [round(100 * threshold) for threshold in config.val_evaluator.iou_thrs]
    assert thresholds == list(range(50, 100, 5))
    assert config.val_evaluator.eval_mode == "11points"
    parts = config.train_dataloader.dataset.datasets
    assert [part.data_prefix.sub_data_root for part in parts] == ["VOC2007/", "VOC2012/"]
    for part in parts:
        assert (part.type, part.difficult) == ("mmssl.VOCDetection", "use")
        assert "bbox_min_size" not in part.filter_cfg
        assert [s[1] for s in part.pipeline[2].scales] == list(range(480, 801, 32))
    assert config.train_dataloader.batch_sampler.type == "AspectRatioBatchSampler"
    assert config.model.roi_head.bbox_head.num_classes == 20


def test_values_coco_schedules_and_scales(configs):
    for leaf in COCO:
        config = configs[leaf]
        warmup, steps = config.param_scheduler
        assert (warmup.start_factor, warmup.end) == (0.001, 1000), leaf
        schedule = leaf.split("_")[-2].split("-")[-1]
        unit, length, milestones = COCO_SCHEDULES[schedule]
        assert (steps.milestones, steps.end) == (milestones, length), leaf
        assert config.train_cfg[f"max_{unit}"] == length, leaf
        assert steps.by_epoch == (unit == "epochs"), leaf
        if unit == "iters":
            assert config.train_dataloader.sampler.type == "InfiniteSampler", leaf
            assert config.train_cfg.type == "IterBasedTrainLoop", leaf
        pipeline = config.train_dataloader.dataset.pipeline
        assert [s[1] for s in pipeline[2].scales] == list(range(640, 801, 32)), leaf
        masks = "mask-rcnn" in leaf
        assert pipeline[1].get("with_mask", False) == masks, leaf
        assert config.optim_wrapper.paramwise_cfg.norm_decay_mult == 0, leaf
        if "fpn" in leaf and masks:
            assert config.model.neck.norm_cfg.type == "SyncBN", leaf
            plain = "4conv1fc" not in leaf
            head = config.model.roi_head.bbox_head
            assert head.type == ("Shared2FCBBoxHead" if plain else "Shared4Conv1FCBBoxHead"), leaf
            assert ("norm_cfg" in config.model.roi_head.mask_head) != plain, leaf


def test_values_fcn16s_of_moco(configs):
    for leaf in SEGMENTATION:
        if "d16" not in leaf:
            continue
        config = configs[leaf]
        backbone, head = config.model.backbone, config.model.decode_head
        assert (backbone.strides, backbone.dilations) == ((1, 2, 2, 1), (1, 1, 1, 2)), leaf
        assert (head.channels, head.num_convs, head.dilation) == (256, 2, 6), leaf
        assert config.model.auxiliary_head is None, leaf
        voc = leaf.startswith("voc")
        optimizer = config.optim_wrapper.optimizer
        assert (optimizer.lr, optimizer.weight_decay) == (0.003 if voc else 0.01, 1e-4), leaf
        iterations = 30000 if voc else 40000 if "40k" in leaf else 90000
        assert config.train_cfg.max_iters == config.param_scheduler[0].end == iterations, leaf
        milestones = config.param_scheduler[0].milestones
        assert [m / config.train_cfg.max_iters for m in milestones] == [0.7, 0.9], leaf


@pytest.mark.slow
@pytest.mark.parametrize("leaf", LEAVES)
def test_values_every_leaf_builds(configs, leaf):
    config = configs[leaf]
    import_modules_from_strings(**config.custom_imports)
    device = "cpu" if leaf in SWIN else "meta"  # their Swin reads numbers from a tensor
    with DefaultScope.overwrite_default_scope(config.default_scope), torch.device(device):
        model = MODELS.build(config.model)
    trained = [p.requires_grad for p in model.parameters()]
    assert all(trained)
    norms = [m for m in model.backbone.modules() if hasattr(m, "running_mean")]
    model.train()
    assert bool(norms) == (leaf not in SWIN) and all(norm.training for norm in norms)
