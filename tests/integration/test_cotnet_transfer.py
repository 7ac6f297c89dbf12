"""CoTNet in the family's detectors and segmenters: what the leaves say, a step of each, a run of one."""

from __future__ import annotations

import json

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData
from mmengine.utils import import_modules_from_strings

from mmssl.convert.transfer_load import load_backbone_into
from mmssl.engine.config import load_config
from mmssl.models.backbones import CoTNet
from mmssl.models.layers import make_norms_local
from tests.helpers import transfer
from tests.helpers.transfer import BENCHMARKS, OTHER_RECIPES

pytestmark = [
    pytest.mark.integration,
    pytest.mark.downstream,
    pytest.mark.filterwarnings("ignore:In training the BatchNorm of a pooled gate"),
]

COCO = "coco_detection/"
DETECTORS = ("faster-rcnn", "cascade-rcnn", "mask-rcnn", "cascade-mask-rcnn")
ARCHS = {"cotnet50": "50", "cotnext50": "x50", "se-cotnetd50": "d50", "cotnet101": "101",
         "cotnext101": "x101", "se-cotnetd101": "d101"}  # fmt: skip
SEGMENTERS = (
    "ade20k_segmentation/upernet_cotnet50_4xb4-160k_ade20k-512x512.py",
    "cityscapes_segmentation/fcn_cotnet50-d8_4xb2-40k_cityscapes-769x769.py",
)
DETR = tuple(f"{COCO}detr_{name}_8xb2-150e_coco.py" for name in ("cotnet50", "r50"))
SMALL = (64, 96)


def leaf(detector: str, backbone: str = "cotnet50") -> str:
    return f"{COCO}{detector}_{backbone}-fpn_8xb2-90k_coco.py"


def sizes(config: Config) -> str:
    return config.train_dataloader.dataset.pipeline[2].type


def check_detector(name: str, config: Config) -> None:
    """What the authors' logs say of all their detectors."""
    model, backbone = config.model, config.model.backbone
    assert (backbone.type, backbone.frozen_stages, backbone.norm_eval) == ("mmssl.CoTNet", 1, False)
    assert list(backbone.out_indices) == [0, 1, 2, 3] and backbone.init_cfg is None
    assert backbone.norm_cfg.type == model.neck.norm_cfg.type == "SyncBN"
    assert model.neck.in_channels == [256, 512, 1024, 2048]
    assert model.data_preprocessor.bgr_to_rgb
    heads = model.roi_head.bbox_head
    heads = heads if isinstance(heads, list) else [heads]
    assert len(heads) == (3 if "cascade" in name else 1)
    for head in heads:
        assert (head.type, head.conv_out_channels) == ("Shared4Conv1FCBBoxHead", 256)
        assert (head.fc_out_channels, head.norm_cfg.type) == (1024, "SyncBN")
        assert head.loss_bbox.to_dict() == dict(type="L1Loss", loss_weight=1.0)
        assert head.reg_class_agnostic == ("cascade" in name)
    assert model.rpn_head.loss_bbox.type == "L1Loss"
    assert model.train_cfg.rpn_proposal.max_per_img == (2000 if "cascade" in name else 1000)
    assert ("mask_head" in model.roi_head) == ("mask" in name)
    if "mask" in name:
        assert model.roi_head.mask_head.norm_cfg.type == "SyncBN"
    warmup, steps = config.param_scheduler
    assert (warmup.start_factor, warmup.end) == (0.001, 1000)
    assert (steps.milestones, steps.end) == ([60000, 80000], 90000)
    assert config.train_cfg.max_iters == 90000
    optimizer = config.optim_wrapper.optimizer
    assert (optimizer.lr, optimizer.momentum, optimizer.weight_decay) == (0.02, 0.9, 1e-4)
    assert config.optim_wrapper.paramwise_cfg.norm_decay_mult == 0
    assert config.train_dataloader.batch_size == 2
    hooks = [hook.type for hook in config.custom_hooks]
    assert hooks == ["mmssl.BackboneCheckpointHook", "mmssl.PreciseBNHook"]
    assert config.load_from == "REQUIRED"


@pytest.mark.parametrize("detector", DETECTORS)
def test_values_detectors_of_cotnet50(detector: str) -> None:
    config = load_config(BENCHMARKS / leaf(detector))
    check_detector(detector, config)
    assert config.model.backbone.arch == "50"
    pipeline = config.train_dataloader.dataset.pipeline
    assert bool(pipeline[1].get("with_mask")) == ("mask" in detector)
    if "mask" in detector:
        assert [scale[1] for scale in pipeline[2].scales] == list(range(640, 801, 32))
    else:
        assert list(pipeline[2].scale) == [(1333, 640), (1333, 800)]


@pytest.mark.slow
def test_values_detectors_of_the_others() -> None:
    """As CoTNet-50's, with another network; three mask models draw any size between the two."""
    expected = {leaf(detector, name) for detector in DETECTORS for name in ARCHS}
    assert set(OTHER_RECIPES) == expected | {*SEGMENTERS, *DETR}
    ranges = {
        leaf("mask-rcnn", "cotnext101"),
        leaf("mask-rcnn", "cotnet101"),
        leaf("cascade-mask-rcnn", "cotnext101"),
    }
    for detector in DETECTORS:
        for name, arch in ARCHS.items():
            config = load_config(BENCHMARKS / leaf(detector, name))
            check_detector(detector, config)
            assert config.model.backbone.arch == arch
            between = "mask" not in detector or leaf(detector, name) in ranges
            assert sizes(config) == ("RandomResize" if between else "RandomChoiceResize")
            assert Config.fromstring(config.pretty_text, ".py").to_dict() == config.to_dict()


def test_equivalence_detr_of_both_backbones() -> None:
    """DETR with CoTNet-50 differs from DETR with ResNet-50 in the network and its norms only."""
    cotnet, resnet = (load_config(BENCHMARKS / name) for name in DETR)
    assert (cotnet.model.backbone.type, cotnet.model.backbone.arch) == ("mmssl.CoTNet", "50")
    assert cotnet.model.backbone.frozen_stages == resnet.model.backbone.frozen_stages == -1
    assert list(cotnet.model.backbone.out_indices) == list(resnet.model.backbone.out_indices)
    for config in (cotnet, resnet):
        config.model.pop("backbone")
    assert cotnet.model.to_dict() == resnet.model.to_dict()
    for key in ("train_dataloader", "optim_wrapper", "param_scheduler", "train_cfg"):
        assert cotnet[key] == resnet[key], key


def build(name: str) -> torch.nn.Module:
    """The model of a leaf with random weights and norms of one process, in training mode."""
    config = load_config(BENCHMARKS / name)
    import_modules_from_strings(**config.custom_imports)
    if "rpn_proposal" in (config.model.get("train_cfg") or {}):
        config.model.train_cfg.rpn_proposal.max_per_img = 16
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        model = MODELS.build(config.model)
    make_norms_local(model)
    return model.train()


def check_step(model: torch.nn.Module, losses: dict, frozen: bool) -> None:
    """Every loss is finite, all that is trained gets a gradient, and the frozen part none."""
    total, logged = model.parse_losses(losses)
    assert all(value.isfinite() for value in logged.values())
    total.backward()
    still = {"conv1", "bn1", "layer1"} if frozen else set()
    for name, parameter in model.backbone.named_parameters():
        if name.split(".")[0] in still:
            assert not parameter.requires_grad and parameter.grad is None, name
        else:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    for name, module in model.backbone.named_modules():
        if hasattr(module, "running_mean"):
            assert module.training == (name.split(".")[0] not in still), name


@pytest.mark.slow
@pytest.mark.parametrize("name", [*map(leaf, DETECTORS), *DETR])
def test_values_a_step_of_a_detector(name: str) -> None:
    from mmdet.testing import demo_mm_inputs

    model = build(name)
    batch = demo_mm_inputs(
        2, [(3, *SMALL)] * 2, num_items=[2, 3], num_classes=80, with_mask=True, use_box_type=False
    )
    batch = model.data_preprocessor(batch, training=True)
    losses = model(**batch, mode="loss")
    assert any("bbox" in key for key in losses) and any("cls" in key for key in losses)
    assert any("loss_mask" in key for key in losses) == ("mask-rcnn" in name)
    check_step(model, losses, frozen=name not in DETR)


@pytest.mark.slow
@pytest.mark.parametrize("name", SEGMENTERS)
def test_values_a_step_of_a_segmenter(name: str) -> None:
    from mmseg.structures import SegDataSample

    model = build(name)
    model.data_preprocessor.size = SMALL
    generator = torch.Generator().manual_seed(0)
    samples = []
    for _ in range(2):
        labels = torch.randint(0, 19, (1, *SMALL), generator=generator)
        sample = SegDataSample(gt_sem_seg=PixelData(data=labels))
        sample.set_metainfo(dict(img_shape=SMALL, ori_shape=SMALL))
        samples.append(sample)
    images = [torch.randint(0, 256, (3, *SMALL), generator=generator).byte() for _ in range(2)]
    batch = model.data_preprocessor(dict(inputs=images, data_samples=samples), training=True)
    losses = model(**batch, mode="loss")
    assert {"decode.loss_ce", "aux.loss_ce"} <= set(losses)
    check_step(model, losses, frozen=False)
    maps = model.backbone(batch["inputs"])
    dilated = "d8" in name
    assert [64 // m.shape[2] for m in maps] == ([4, 8, 8, 8] if dilated else [4, 8, 16, 32])


@pytest.mark.slow
def test_state_detector_starts_from_a_cotnet(tmp_path) -> None:
    """From an exported backbone on Shapes: all of it arrives, the first stage stays, statistics move."""
    shapes = transfer.draw_few(tmp_path / "shapes")
    arch = dict(depths=(1, 1, 1, 1))
    torch.manual_seed(3)
    state = CoTNet(arch, out_indices=(0, 1, 2, 3)).state_dict()
    path = tmp_path / "backbone.pth"
    torch.save(dict(state_dict={f"backbone.{k}": v for k, v in state.items()}), path)
    options = transfer.coco_on_shapes(shapes) | {
        "model.backbone.arch": dict(_delete_=True, **arch),
        "load_from": str(path),
        "train_cfg.max_iters": 1,
        "train_cfg.val_interval": 1,
        "model.roi_head.bbox_head.num_classes": 12,
        "model.train_cfg.rcnn.sampler.num": 8,
        "model.train_cfg.rpn_proposal.max_per_img": 16,
        "model.test_cfg.rpn.max_per_img": 16,
        "custom_hooks.1.num_iters": 1,
        "train_dataloader.dataset.pipeline.2.scale": [(64, 64), (96, 96)],
        "val_dataloader.dataset.pipeline.1.scale": (64, 64),
    }
    runner = transfer.run(leaf("faster-rcnn"), tmp_path / "run", options)
    record = json.loads((tmp_path / "run/backbone.json").read_text())
    assert record["tensors"] == {"backbone": len(state)}
    after = runner.model.backbone.state_dict()
    assert set(after) == set(state)
    for name, value in state.items():
        still = name.startswith(("conv1", "bn1", "layer1"))
        if still:
            assert torch.equal(after[name], value), name
        elif name.endswith("running_mean"):
            assert not torch.equal(after[name], value), name
    assert load_backbone_into(runner.model, path).parts["backbone"].matched
    assert "val/coco/bbox_mAP" in runner.message_hub.log_scalars
