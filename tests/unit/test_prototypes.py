"""Prototypes: loading, looking up, and their place in checkpoints."""

from __future__ import annotations

import pytest
import torch

from mmssl.models.memories import Prototypes
from tests.helpers.tiny import tiny_clustering, tiny_hcsc, tiny_model, tiny_pcl, tiny_views


def loaded(epoch: int = 3) -> Prototypes:
    prototypes = Prototypes((6, 4, 2), 8)
    prototypes.load(tiny_clustering(), epoch=epoch)
    return prototypes


def test_values_assignment_of_a_tree_follows_the_parents():
    prototypes, clustering = loaded(), tiny_clustering()
    index = torch.tensor([11, 0, 7])
    expected = torch.stack([clustering.on_level(level)[index] for level in range(3)])
    assert torch.equal(prototypes.assign(index), expected)
    assert expected.tolist() == [[5, 0, 1], [1, 0, 1], [1, 0, 1]]
    assert prototypes.num_used == [6, 4, 2] and int(prototypes.epoch) == 3


def test_values_assignment_of_flat_levels():
    prototypes = Prototypes((9, 10), 8, tree=False)
    prototypes.load(tiny_clustering((9, 10), tree=False), epoch=0)
    assert prototypes.assign(torch.tensor([11, 9])).tolist() == [[2, 0], [1, 9]]


def test_values_partition_is_that_of_the_whole_softmax():
    level = loaded().levels[0]
    level.density[0] = 1e-5  # the softmax never divides by less than 1e-3
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(50, 8, generator=generator, dtype=torch.double)
    features = torch.nn.functional.normalize(features, dim=1)
    scale = level.density.clamp(min=1e-3).double()
    logits = features @ level.centroids.double().T / scale
    torch.testing.assert_close(level.log_partition(features), logits.logsumexp(dim=1))


def test_values_parents_have_temperatures_with_the_mean_of_the_setting():
    prototypes = loaded()
    scale = prototypes.kin_scale(1)
    assert scale.mean().item() == pytest.approx(0.2)
    level, above = prototypes.levels[0], prototypes.levels[1]
    expected = (level.centroids @ above.centroids.T / scale).logsumexp(dim=1)
    torch.testing.assert_close(level.kin_partition, expected)


def test_values_last_used_prototypes_are_those_of_images(monkeypatch):
    monkeypatch.setattr("mmssl.models.memories.prototypes._IMAGES", 5)
    clustering = tiny_clustering()
    few = clustering._replace(assignment=torch.tensor([[0, 3, 1, 0, 3, 3, 1]], dtype=torch.int32))
    prototypes = Prototypes((6, 4, 2), 8)
    prototypes.load(few, epoch=0)
    expected = [int(few.on_level(level).max()) for level in range(3)]
    assert prototypes.last_used.tolist() == expected == [3, 3, 1]
    flat = Prototypes((9, 10), 8, tree=False)
    rows = torch.tensor([[0, 3, 1], [7, 7, 2]], dtype=torch.int32)
    flat.load(tiny_clustering((9, 10), tree=False)._replace(assignment=rows), epoch=0)
    assert flat.num_used == [4, 8]


def test_state_an_empty_one_takes_any_number_of_images():
    fresh = Prototypes((6, 4, 2), 8)
    assert not fresh.is_ready and int(fresh.epoch) == -1
    fresh.load_state_dict(loaded().state_dict())
    assert fresh.is_ready and fresh.num_used == [6, 4, 2]
    for key, value in loaded().state_dict().items():
        assert torch.equal(fresh.state_dict()[key], value), key
    empty = Prototypes((6, 4, 2), 8)
    fresh.load_state_dict(empty.state_dict())
    assert not fresh.is_ready


def test_state_other_levels_do_not_load():
    with pytest.raises(RuntimeError, match=r"levels\.2"):
        Prototypes((6, 4), 8).load_state_dict(loaded().state_dict())


@pytest.mark.parametrize(
    ("clustering", "about"),
    [
        (tiny_clustering((6, 4)), "2 levels"),
        (tiny_clustering(dim=5), r"size \[5\]"),
        (tiny_clustering(tree=False), "tree=True"),
    ],
)
def test_raises_for_a_clustering_of_another_kind(clustering, about):
    with pytest.raises(ValueError, match=about):
        Prototypes((6, 4, 2), 8).load(clustering, epoch=0)


@pytest.mark.parametrize("counts", [(), (0,), (4, 6), (6, 6)])
def test_raises_for_impossible_levels(counts):
    with pytest.raises(ValueError, match="finest"):
        Prototypes(counts, 8)


def test_values_one_level_selects_keys_but_no_prototypes():
    model = tiny_hcsc(prototypes=dict(type="Prototypes", num_clusters=(6,)), clustered=False)
    model.load_prototypes(tiny_clustering((6,)), epoch=0)
    model.progress = tiny_model("hcsc").progress
    losses = model(tiny_views(), mode="loss")
    assert {name for name in losses if "loss" in name} == {"loss_inst_l0", "loss_proto_l0"}


def test_equivalence_kept_partitions_are_those_of_the_queue_after_steps():
    model = tiny_model("hcsc")
    for step in range(4):
        model(tiny_views(step), mode="loss")
    for partition, level in zip(model.key_partition, model.prototypes.levels, strict=True):
        torch.testing.assert_close(partition, level.log_partition(model.queue.features))


def test_values_options_of_the_article():
    torch.manual_seed(0)
    released, article = tiny_hcsc(), tiny_hcsc(instance_reduction="mean", skip_last=False)
    article.load_state_dict(released.state_dict())
    for model in (released, article):
        model.progress = tiny_model("hcsc").progress
        model.draw = torch.zeros_like  # everything is kept
    theirs, ours = (model(tiny_views(), mode="loss") for model in (released, article))
    for level in range(3):
        assert ours[f"loss_inst_l{level}"].item() == pytest.approx(
            theirs[f"loss_inst_l{level}"].item() / 3
        )
    # images 0-3 have prototypes 0-3 of 6: only the highest level has no other to add
    assert ours["loss_proto_l0"] > theirs["loss_proto_l0"]


def test_values_pcl_draws_free_prototypes_evenly():
    model = tiny_pcl()
    own = torch.tensor([0, 4, 4])
    counts = torch.zeros(9)
    for seed in range(600):
        torch.manual_seed(seed)
        counts[model.draw_negatives(0, own)] += 1
    assert counts[[0, 4]].sum() == 0
    free = counts[[1, 2, 3, 5, 6, 7, 8]]
    assert free.sum() == 1800 and (free - 1800 / 7).abs().max() < 60
    everything = tiny_pcl(num_negatives=None)
    assert everything.draw_negatives(0, own).tolist() == [1, 2, 3, 5, 6, 7, 8]
    with pytest.raises(ValueError, match="too few for num_negatives=3"):
        model.draw_negatives(0, torch.arange(7))


def test_raises_for_pcl_with_a_tree_or_too_few_prototypes():
    for options in (
        dict(prototypes=dict(type="Prototypes", num_clusters=(9, 8), tree=True)),
        dict(num_negatives=9),
    ):
        with pytest.raises(ValueError, match="PCL needs prototypes with tree=False"):
            tiny_pcl(clustered=False, **options)


def test_values_prototypes_of_equal_images_keep_losses_finite():
    """More than a tenth of them with density 0: video frames, unreadable files that others stand for."""
    losses = []
    for density in (0.0, 1e-7, 1e-3):
        model = tiny_hcsc()
        for level in model.prototypes.levels:
            level.density[::2] = density
        clustering = model.prototypes.clustering()
        model.load_prototypes(clustering, epoch=1)
        flat = tiny_pcl()
        for level in flat.prototypes.levels:
            level.density[::2] = density
        for method in (model, flat):
            method.load_state_dict(method.state_dict())
            method.progress = tiny_model("hcsc").progress
            torch.manual_seed(0)
            found = method(tiny_views(), mode="loss")
            values = [value for name, value in found.items() if "loss" in name]
            assert all(value.isfinite() for value in values)
            losses.append(float(sum(values).detach()))
    assert losses[0] < 1e4 and losses[1] < 1e4


def test_values_a_batch_may_just_leave_enough_negatives():
    model = tiny_pcl(num_negatives=5)
    assert len(model.draw_negatives(0, torch.tensor([0, 0, 3, 3, 7]))) == 5
    with pytest.raises(ValueError, match="the batch leaves 4: too few for num_negatives=5"):
        model.draw_negatives(0, torch.arange(5))


def test_raises_for_flat_prototypes_and_unknown_options():
    flat = dict(type="Prototypes", num_clusters=(6, 4), tree=False)
    for options in (dict(prototypes=flat), dict(mask_mode="drop"), dict(instance_reduction="max")):
        with pytest.raises(ValueError, match="HCSC needs prototypes with tree=True"):
            tiny_hcsc(clustered=False, **options)


def test_values_without_selection_every_negative_stays():
    model = tiny_hcsc(instance_selection=False, prototype_selection=False)
    model.progress = tiny_model("hcsc").progress

    def no_draw(probability):
        raise AssertionError("nothing is drawn")

    model.draw = no_draw
    losses = model(tiny_views(num=3), mode="loss")
    assert "loss_inst" in losses and "keep_ratio" not in losses
