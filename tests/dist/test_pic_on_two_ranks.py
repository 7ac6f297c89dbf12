"""PIC on two gloo processes: rows replicated or sharded, against one process with twice the batch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from mmssl.models.algorithms.base import bare_model
from mmssl.engine.runner import Runner
from mmssl.losses import instance_softmax
from mmssl.models.heads import InstanceClassifier
from mmssl.models.memories import shard_state
from mmssl.ops.collectives import sum_to_own_rows
from mmssl.ops.sharded_rows import gather_rows_in_chunks
from tests.helpers.killed import Killed
from tests.helpers.pic_runs import NUM_IMAGES, pic_config

pytestmark = [pytest.mark.dist, pytest.mark.slow]
# whole batches stay in the recent list: inside of a batch its order depends on the ranks
SAMPLED = dict(num_negatives=8)
CASES: dict[str, dict[str, Any]] = {
    "parameter": dict(num_negatives=None),
    "replicated": SAMPLED,
    "sharded": dict(SAMPLED, shard=True),
    "sharded_host": dict(SAMPLED, shard=True, storage="host"),
    "sharded_full": dict(num_negatives=None, shard=True),
}
ROWS = [case for case in CASES if case != "parameter"]
# DDP would send every buffer that it is not told to leave alone
WRAPPER = dict(type="MMDistributedDataParallel", device_ids=None, broadcast_buffers=True)
TWO = dict(launcher="pytorch", model_wrapper_cfg=WRAPPER)


def outcome(work_dir: Path, batch_size: int, case: str, **changes: Any) -> dict[str, Tensor]:
    """Losses, weights and all rows after three epochs of three iterations."""
    runner = Runner.from_cfg(pic_config(work_dir, CASES[case], batch_size=batch_size, **changes))
    runner.train()
    model = bare_model(runner.model)
    found = {
        key: value.clone()
        for key, value in model.state_dict().items()
        if not key.startswith("head.")
    }
    if model.head.rows is None:
        found["rows"] = model.head.weight.detach().clone()
    else:
        found["own_rows"] = model.head.rows.store.weight.clone()
        found["rows"], found["momenta"] = model.head.rows.all_rows()
    found["losses"] = torch.tensor(runner.message_hub.get_scalar("train/loss").data[0])
    return found


def killed(work_dir: Path, case: str, **changes: Any) -> dict[str, Tensor]:
    """The same, killed after five iterations and resumed behind the fourth: inside of a batch of three."""
    hooks = [dict(type="InstanceRowsHook"), dict(type="KillHook", at=4)]
    try:
        outcome(work_dir, 4, case, custom_hooks=hooks, **changes)
    except Killed:
        return outcome(work_dir, 4, case, resume=True, **changes)
    raise AssertionError("nobody killed it")


def softmax_of(shard: bool) -> list[Tensor]:
    """The loss on given features and its gradients, those of the features as DDP's mean leaves them."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(8 * 3, 6, generator=generator, dtype=torch.float64)
    weight = torch.randn(11, 6, generator=generator, dtype=torch.float64)
    index = torch.tensor([3, 0, 10, 3, 7, 7, 1, 9])
    ranks, place = (dist.get_world_size(), dist.get_rank()) if shard else (1, 0)
    own = features.view(3, ranks, 8 // ranks, 6)[:, place].flatten(0, 1).requires_grad_()
    rows = weight[place::ranks].clone().requires_grad_()
    target = torch.where(index % ranks == place, index // ranks, -1)
    batch = 8 // ranks
    result = instance_softmax(
        own[:batch], own[batch:], rows, target, temperature=0.2, sharded=shard, max_logits=50
    )
    result.loss.backward()
    return [result.loss.detach(), result.correct.sum(), own.grad / ranks, rows.grad]


def even_images(shard: bool) -> list[Tensor]:
    """Two steps on images whose rows are all on rank 0: the other has no class at all, then one."""
    ranks, place = (dist.get_world_size(), dist.get_rank()) if shard else (1, 0)
    torch.manual_seed(0)
    head = InstanceClassifier(6, 5, num_negatives=2, shard=shard, init_std=1.0).double()
    found = []
    for step, index in enumerate(([0, 2, 4, 0], [2, 1, 4, 2])):
        generator = torch.Generator().manual_seed(step)
        features = torch.randn(4, 6, generator=generator, dtype=torch.float64)
        own = slice(place * 4 // ranks, (place + 1) * 4 // ranks)
        classes = head(torch.tensor(index)[own])
        loss = instance_softmax(
            features[own],
            None,
            classes.weight,
            classes.target,
            temperature=0.2,
            sharded=shard,
        ).loss
        loss.backward()
        head.rows.step(0.1, momentum=0.9, weight_decay=0.01)
        found.append(loss.detach())
    return [*found, *head.rows.all_rows()]


def train(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    found = {case: outcome(Path(folder) / case, 4, case, **TWO) for case in CASES}
    found["killed"] = killed(Path(folder) / "killed", "sharded", **TWO)
    accumulate = {"optim_wrapper.accumulative_counts": 3}
    for case in ("sharded", "replicated"):
        folder_of = Path(folder) / f"accumulated_{case}"
        found[f"accumulated_{case}"] = outcome(folder_of, 4, case, **TWO, **accumulate)
        found[f"accumulated_{case}_killed"] = killed(
            folder_of.with_suffix(".killed"), case, **TWO, **accumulate
        )
    found["softmax"] = softmax_of(shard=True)
    found["even"] = even_images(shard=True)
    own = torch.arange(14).view(7, 2)[rank::2]
    found["in_chunks"] = gather_rows_in_chunks(own, 7, chunk=2)
    found["own_sum"] = sum_to_own_rows(torch.arange(8).view(4, 2) * (1 + 9 * rank))
    shard_state.IN_MEMORY = 0
    found["mapped"] = outcome(Path(folder) / "mapped", 4, "sharded", **TWO)
    torch.save(found, f"{folder}/{rank}.pth")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where two ranks have trained."""
    path = tmp_path_factory.mktemp("ranks")
    mp.spawn(train, args=(str(path),), nprocs=2)
    return path


@pytest.fixture(scope="module")
def ranks(folder) -> list[dict[str, Any]]:
    """What each rank ends with, case by case."""
    return [torch.load(folder / f"{rank}.pth", weights_only=True) for rank in range(2)]


def assert_same_run(found: dict[str, Tensor], one: dict[str, Tensor]) -> None:
    for key, value in one.items():
        if key != "own_rows":
            torch.testing.assert_close(found[key], value, rtol=1e-5, atol=1e-6, msg=key)


@pytest.mark.parametrize("case", CASES)
def test_equivalence_with_one_process_of_twice_the_batch(tmp_path, ranks, case) -> None:
    first, second = (found[case] for found in ranks)
    one = outcome(tmp_path, 8, case)
    losses = {"losses": one["losses"]}
    if "sharded" in case:
        assert_same_run(first, one)
        assert_same_run(second, losses)  # each rank has the loss of the whole batch
        assert len(second["own_rows"]) == NUM_IMAGES // 2 and len(second["rows"]) == 0
    else:
        # mmengine logs the loss of rank 0 alone: that of its half of the batch
        assert_same_run(first, {key: value for key, value in one.items() if key != "losses"})
        assert torch.equal(first["rows"], second["rows"])
    for key in set(one) - {"losses", "own_rows", "rows", "momenta"}:
        assert torch.equal(first[key], second[key]), key


def test_equivalence_all_ways_of_keeping_rows_are_one(ranks) -> None:
    """Sampled ones among each other; the sharded softmax over everything and the parameter."""
    found = ranks[0]
    for case, other in (("sharded", "replicated"), ("sharded_full", "parameter")):
        for key in set(found[case]) & set(found[other]) - {"own_rows", "losses"}:
            torch.testing.assert_close(
                found[case][key], found[other][key], rtol=1e-5, atol=1e-6, msg=key
            )
    for key, value in found["sharded"].items():
        assert torch.equal(found["sharded_host"][key], value), key
    assert not torch.allclose(found["sharded"]["rows"], found["sharded_full"]["rows"], atol=1e-3)


@pytest.mark.parametrize("case", ROWS)
def test_state_the_file_of_rank_0_is_that_of_one_process(tmp_path, folder, case) -> None:
    """All shards, in the global order, with what every row is owed."""
    outcome(tmp_path, 8, case)
    files = [
        torch.load(path / "iter_8.pth", weights_only=True) for path in (folder / case, tmp_path)
    ]
    two, one = (file["state_dict"] for file in files)
    assert two.keys() == one.keys()
    for key, value in one.items():
        if "recent" in key:
            two[key], value = two[key].sort().values, value.sort().values
        torch.testing.assert_close(two[key], value, rtol=1e-5, atol=1e-6, msg=key)
    assert ("head.rows.recent.index" in one) == (CASES[case]["num_negatives"] is not None)
    assert not list((folder / case).glob("*.partial"))


def test_state_a_killed_run_resumes_bit_equal(ranks) -> None:
    for found in ranks:
        for key in set(found["sharded"]) - {"losses"}:
            assert torch.equal(found["sharded"][key], found["killed"][key]), key


@pytest.mark.parametrize("case", ["accumulated_sharded", "accumulated_replicated"])
def test_state_killed_inside_of_an_accumulation(ranks, case) -> None:
    """The file has the mean of both ranks' gradients of the network: equal up to its rounding."""
    for found in ranks:
        whole, again = found[case], found[f"{case}_killed"]
        for key in set(whole) - {"losses"}:
            torch.testing.assert_close(again[key], whole[key], rtol=1e-5, atol=1e-7, msg=key)


@pytest.mark.parametrize("case", ["sharded", "sharded_full"])
def test_equivalence_a_file_of_two_ranks_resumes_on_one(tmp_path, folder, ranks, case) -> None:
    """Every rank takes its rows out of the same file, however many there are."""
    (tmp_path / "run").mkdir()
    os.link(folder / case / "iter_4.pth", tmp_path / "run" / "iter_4.pth")
    (tmp_path / "run" / "last_checkpoint").write_text(str(tmp_path / "run" / "iter_4.pth"))
    one = outcome(tmp_path / "run", 8, case, resume=True)
    assert_same_run(
        {key: value for key, value in ranks[0][case].items() if key != "losses"},
        {key: value for key, value in one.items() if key != "losses"},
    )


def test_equivalence_sharded_softmax_on_given_features(ranks) -> None:
    """Loss, hits and gradients, which DDP's mean makes those of the joined batch."""
    loss, correct, features, rows = softmax_of(shard=False)
    slopes, shards = features.view(3, 2, 4, 6), torch.empty_like(rows)
    for place, found in enumerate(ranks):
        their_loss, their_correct, own, shard = found["softmax"]
        torch.testing.assert_close(their_loss, loss)
        assert torch.equal(their_correct, correct)
        torch.testing.assert_close(own, slopes[:, place].flatten(0, 1))
        shards[place::2] = shard
    torch.testing.assert_close(shards, rows)


def test_equivalence_a_rank_without_classes(ranks) -> None:
    for found, expected in zip(ranks[0]["even"], even_images(shard=False), strict=True):
        torch.testing.assert_close(found, expected)


def test_values_a_sum_goes_to_the_rank_of_its_rows(ranks) -> None:
    whole = 11 * torch.arange(8).view(4, 2)
    assert torch.equal(torch.cat([found["own_sum"] for found in ranks]), whole)


def test_state_shards_that_are_many_come_together_in_a_file(folder) -> None:
    """It is gone afterwards, and the checkpoint is the same."""
    files = [
        torch.load(folder / case / "iter_8.pth", weights_only=True)
        for case in ("mapped", "sharded")
    ]
    for key, value in files[1]["state_dict"].items():
        assert torch.equal(files[0]["state_dict"][key], value), key
    assert not list((folder / "mapped").rglob("*.bin"))


def test_values_rows_come_together_in_chunks(ranks) -> None:
    assert torch.equal(ranks[0]["in_chunks"], torch.arange(14).view(7, 2))
    assert ranks[1]["in_chunks"].shape == (0, 2)
