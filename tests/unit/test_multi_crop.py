"""DINO and EsViT on crops of several sizes: against loops over views, pairs and regions, and options."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmssl.models.algorithms import EsViT
from mmssl.models.backbones import Swin, crop_features, sampled_regions
from mmssl.models.layers import BatchMix
from mmssl.structures import Progress, ViewBatch
from tests.helpers.tiny import TINY_HEAD, TinyBackbone, tiny_dino, tiny_esvit, tiny_views

SIZES = [(32, 32), (32, 32), (16, 16), (16, 24), (16, 24)]


def crops(sizes: list[tuple[int, int]], num_images: int = 3, seed: int = 0) -> ViewBatch:
    generator = torch.Generator().manual_seed(seed)
    images = [torch.randn(num_images, 3, *size, generator=generator) for size in sizes]
    return tiny_views(size=num_images)._replace(images=images)


def ready(method, **options):
    torch.manual_seed(0)
    model = method(**options)
    model.init_weights()
    model.progress = Progress(0, 10, 3, 40)
    for parameter in model.twin.parameters():  # a teacher of its own
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model.train()


def rows_of(region_map: Tensor) -> Tensor:
    return region_map.flatten(2).transpose(1, 2)


def test_values_crops_of_a_size_go_together_and_come_back_in_order():
    torch.manual_seed(0)
    backbone = TinyBackbone((3,), norm=False)
    views = crops(SIZES)
    found = crop_features(backbone, views.images)
    assert found.sizes == [4, 4, 1, 2, 2]
    for number, image in enumerate(views.images):
        region_map = backbone(image)[-1]
        torch.testing.assert_close(found.views[:, number], region_map.mean((2, 3)))
        start = sum(found.sizes[:number])
        part = found.regions[:, start : start + found.sizes[number]]
        torch.testing.assert_close(part, rows_of(region_map))


def test_values_batch_statistics_are_those_of_all_crops_of_a_size():
    """Two passes for five crops: the BatchNorm of the official multi-crop wrapper."""
    torch.manual_seed(0)
    backbone = TinyBackbone((3,)).train()
    crop_features(backbone, crops([(32, 32)] * 2 + [(16, 16)] * 3).images)
    assert backbone.stages[0][1].num_batches_tracked == 2


@pytest.mark.parametrize("sizes", [SIZES, SIZES[:2], SIZES[:3]])
def test_values_esvit_by_loops(sizes):
    """Every pair of views, every region, one after the other."""
    model = ready(
        tiny_esvit,
        backbone=TinyBackbone((3,), norm=False),
        region_head=dict(TINY_HEAD, norm_last_layer=False),
    )
    model.center.mean.normal_(std=0.1)
    model.region_center.mean.normal_(std=0.1)
    views = crops(sizes)
    reference = copy.deepcopy(model)
    losses = model(views, mode="loss")

    temperature = 0.04 + 0.03 * 3 / 29  # epoch 3 of the warm-up over 30
    maps = [reference.backbone(image)[-1] for image in views.images]
    teacher_maps = [reference.twin.backbone(image)[-1] for image in views.images[:2]]

    def cross_entropy(student: Tensor, teacher: Tensor, center: Tensor) -> Tensor:
        target = ((teacher - center) / temperature).softmax(-1)
        return -(target * (student / 0.1).log_softmax(-1)).sum(-1)

    view_terms, region_terms = [], []
    for v, region_map in enumerate(maps):
        for q, teacher_map in enumerate(teacher_maps):
            if v == q:
                continue
            view_terms.append(
                cross_entropy(
                    reference.head(region_map.mean((2, 3))),
                    reference.twin.head(teacher_map.mean((2, 3))),
                    reference.center.mean,
                ).mean()
            )
            own, others = rows_of(region_map), rows_of(teacher_map)
            targets = reference.twin.region_head(others)
            for image in range(3):
                cosine = F.normalize(own[image], dim=1) @ F.normalize(others[image], dim=1).T
                chosen = targets[image][cosine.argmax(1)]
                logits = reference.region_head(own[image])
                term = cross_entropy(logits, chosen, reference.region_center.mean)
                region_terms.append(term.mean() / 3)
    view, region = torch.stack(view_terms).mean(), sum(region_terms) / len(view_terms)
    torch.testing.assert_close(losses["loss_view"], 0.5 * view)
    torch.testing.assert_close(losses["loss_region"], 0.5 * region)
    for head, center, rows in (
        ("head", "center", torch.stack([m.mean((2, 3)) for m in teacher_maps])),
        ("region_head", "region_center", torch.stack([rows_of(m) for m in teacher_maps])),
    ):
        logits = reference.twin.get_submodule(head)(rows).flatten(0, -2)
        expected = 0.9 * reference.get_submodule(center).mean + 0.1 * logits.mean(0)
        torch.testing.assert_close(model.get_submodule(center).mean, expected)


def test_equivalence_esvit_without_regions_is_dino():
    esvit = ready(tiny_esvit, region_weight=0.0, view_weight=1.0)
    dino = ready(tiny_dino)
    dino.load_state_dict(esvit.state_dict(), strict=False)
    views = crops(SIZES)
    expected = dino(views, mode="loss")["loss"]
    torch.testing.assert_close(esvit(views, mode="loss")["loss_view"], expected)


def test_values_weights_of_the_terms():
    views = crops(SIZES)
    both = ready(tiny_esvit)(views, mode="loss")
    doubled = ready(tiny_esvit, view_weight=1.0, region_weight=1.5)(views, mode="loss")
    torch.testing.assert_close(doubled["loss_view"], 2 * both["loss_view"])
    torch.testing.assert_close(doubled["loss_region"], 3 * both["loss_region"])


def test_values_squared_distance_of_regions_leaves_the_last_layer_alone():
    model = ready(tiny_esvit, region_loss="mse")
    losses = model(crops(SIZES), mode="loss")
    assert 0 < losses["loss_region"] < 2  # half of at most 4
    sum(value for name, value in losses.items() if "loss" in name).backward()
    missing = {n for n, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert not missing
    assert not model.region_head.last_layer.weight_v.requires_grad
    assert model.region_center.mean.abs().max() == 0


@pytest.mark.parametrize("options", [dict(match="transport"), dict(match_dtype="float16")])
def test_values_other_matchings_change_the_region_term_only(options):
    views = crops([(64, 64)] * 2 + [(32, 32)] * 2)
    usual = ready(tiny_esvit)(views, mode="loss")
    other = ready(tiny_esvit, **options)(views, mode="loss")
    assert torch.equal(usual["loss_view"], other["loss_view"])
    assert other["loss_region"].isfinite()
    if "match" in options:
        assert usual["loss_region"] != other["loss_region"]


def test_values_sampled_regions():
    features = crop_features(TinyBackbone((3,)), crops([(64, 64)] * 2 + [(16, 16)]).images)
    assert features.sizes == [16, 16, 1]
    torch.manual_seed(0)
    sampled = sampled_regions(features, 5)
    assert sampled.sizes == [5, 5, 1] and sampled.regions.shape[1] == 11
    found = [(features.regions == sampled.regions[:, i : i + 1]).all(2).all(0) for i in range(11)]
    chosen = torch.stack(found).int().argmax(1).tolist()
    assert all(position < 16 for position in chosen[:5]) and len(set(chosen[:5])) == 5
    assert all(16 <= position < 32 for position in chosen[5:10]) and chosen[10] == 32
    model = ready(tiny_esvit, num_sampled_regions=2)
    assert model(crops(SIZES), mode="loss")["loss_region"].isfinite()


def test_state_twin_has_no_stochastic_depth_and_stays_in_train_mode():
    swin = Swin(8, depths=(1, 1), num_heads=(1, 1), window_size=2, pretrain_img_size=16,
                out_indices=(1,), drop_path_rate=0.5)  # fmt: skip
    model = EsViT(swin, dict(TINY_HEAD), dict(TINY_HEAD)).train()
    rates = [getattr(m, "drop_prob", 0) for m in model.backbone.modules()]
    assert max(rates) == 0.5
    assert max(getattr(m, "drop_prob", 0) for m in model.twin.modules()) == 0
    assert all(module.training for module in model.twin.modules())


def test_values_mixed_views():
    """Shares add up to 1, partners are the batch in reverse, and what is mixed is what is said."""
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 16, 20)
    for seed, (mixup, cutmix) in enumerate([(0.8, 0.0), (0.0, 1.0), (0.8, 1.0)]):
        torch.manual_seed(seed)
        mixed, share = BatchMix(mixup, cutmix)(images)
        torch.testing.assert_close(share.sum(1), torch.ones(4))
        assert (share > 0).sum() == 8 and share[0, 3] > 0 and share[1, 2] > 0
        torch.testing.assert_close(mixed.mean((1, 2, 3)), share @ torch.arange(4.0))
    with pytest.raises(ValueError, match="above 0"):
        BatchMix(0.0, 0.0)


def test_equivalence_a_mix_of_nothing_is_no_mix():
    """Against the usual path with one view mixed by nothing; the twin sees clean views."""

    class Nothing(torch.nn.Module):
        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            return images, torch.eye(len(images))

    views = crops(SIZES)
    plain = ready(tiny_dino)(views, mode="loss")["loss"]
    mixed = ready(tiny_dino, mixup=Nothing())(views, mode="loss")["loss"]
    torch.testing.assert_close(mixed, plain)
    model = ready(tiny_dino, mixup=dict(type="BatchMix"))
    model(views, mode="loss")["loss"].backward()
    assert model.head.last_layer.weight_v.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("name", "options"), [("test_convnext", {}), ("test_vit", dict(dynamic_img_size=True))]
)
def test_values_any_timm_backbone_serves(name, options):
    backbone = dict(type="TimmBackbone", name=name, out_indices=(-1,), model_args=options)
    model = ready(EsViT, backbone=backbone, head=TINY_HEAD, region_head=TINY_HEAD)
    losses = model(crops([(64, 64)] * 2 + [(32, 32), (48, 32)]), mode="loss")
    sum(value for key, value in losses.items() if "loss" in key).backward()
    missing = {n for n, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert not missing and losses["loss_region"].isfinite()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(region_loss="l1"), "region_loss must be one of .*'mse'.*'l1'"),
        (dict(match="best"), "match must be one of .*'transport'"),
        (dict(match_dtype="flaot16"), "match_dtype must be one of .*'float16'.*'flaot16'"),
        (dict(num_sampled_regions=0), "num_sampled_regions must be at least 1, got 0"),
    ],
)
def test_raises_for_options(options, words):
    with pytest.raises(ValueError, match=words):
        tiny_esvit(**options)
