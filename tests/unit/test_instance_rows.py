"""Sampled class weights against SGD over all rows, step by step."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mmssl.losses import instance_softmax
from mmssl.models.heads import InstanceClassifier
from tests.helpers.dense_rows import DenseRows

N, D, B, T = 30, 6, 4, 0.2
SGD = dict(momentum=0.9, weight_decay=0.02)


def head_of(num_negatives: int | None, *, dtype=torch.float64, **options) -> InstanceClassifier:
    torch.manual_seed(0)
    head = InstanceClassifier(
        D, N, temperature=T, num_negatives=num_negatives, init_std=1.0, **options
    )
    return head.to(dtype)


def warm_up(step: int) -> float:
    """A learning rate that never rests."""
    return 0.01 + 0.02 * step if step < 10 else 0.4 / (step - 5)


def batch_of(step: int, dtype=torch.float64, crops: int = 3) -> tuple[Tensor, Tensor]:
    """Features of a large and two small crops of images that come back, one of them twice at times."""
    generator = torch.Generator().manual_seed(step)
    features = torch.randn(crops * B, D, generator=generator, dtype=dtype)
    index = (2 * step + torch.randperm(12, generator=generator)[:B]) % N
    if step % 5 == 4:
        index[-1] = index[0]
    return features.requires_grad_(), index


def loss_of(head: InstanceClassifier, features: Tensor, index: Tensor) -> Tensor:
    classes = head(index)
    return instance_softmax(
        features[:B], features[B:], classes.weight, classes.target, temperature=T
    ).loss


def run(
    head: InstanceClassifier,
    steps: range,
    *,
    rate: Callable[[int], float] = warm_up,
    options: dict | None = None,
) -> tuple[list[Tensor], list[Tensor]]:
    """Losses and gradients of the features."""
    losses, slopes = [], []
    for step in steps:
        features, index = batch_of(step, head.rows.weight.dtype)
        loss = loss_of(head, features, index)
        loss.backward()
        head.rows.step(rate(step), **(options or SGD))
        losses.append(loss.detach())
        slopes.append(features.grad)
    return losses, slopes


def dense_run(
    weight: Tensor,
    steps: range,
    num_negatives: int | None,
    *,
    everything: bool = False,
    rate: Callable[[int], float] = warm_up,
    options: dict | None = None,
) -> tuple[list[Tensor], list[Tensor], DenseRows]:
    dense = DenseRows(weight, num_negatives=num_negatives, temperature=T, **(options or SGD))
    if everything and num_negatives is not None:
        dense.recent = list(range(N))[-num_negatives:]
    losses, slopes = [], []
    for step in steps:
        features, index = batch_of(step, weight.dtype)
        loss = dense.loss(features[:B], features[B:], index)
        loss.backward()
        dense.step(rate(step), index)
        losses.append(loss.detach())
        slopes.append(features.grad)
    return losses, slopes, dense


def deviation(found: list[Tensor], expected: list[Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    "options",
    [
        SGD,
        dict(momentum=0.9, weight_decay=0.0),
        dict(momentum=0.0, weight_decay=0.02),
        dict(momentum=0.0, weight_decay=0.0),
    ],
)
@pytest.mark.parametrize("num_negatives", [1, 5, 11])
def test_equivalence_with_sgd_over_all_rows(num_negatives, options):
    head = head_of(num_negatives)
    start = head.rows.store.weight.clone()
    losses, slopes = run(head, range(60), options=options)
    expected, their_slopes, dense = dense_run(start, range(60), num_negatives, options=options)
    assert deviation(losses, expected) < 1e-11
    assert deviation(slopes, their_slopes) < 1e-11
    weight, momentum = head.rows.all_rows()
    torch.testing.assert_close(weight, dense.weight.detach(), rtol=0, atol=1e-11)
    if options["momentum"]:
        torch.testing.assert_close(momentum, dense.momentum, rtol=0, atol=1e-11)


@pytest.mark.parametrize("everything", [False, True])
def test_equivalence_float32_and_a_list_that_starts_full(everything):
    head = head_of(5, dtype=torch.float32, init_recent="all" if everything else "none")
    start = head.rows.store.weight.clone()
    losses, _ = run(head, range(60))
    expected, _, dense = dense_run(start, range(60), 5, everything=everything)
    assert deviation(losses, expected) < 1e-5
    weight, momentum = head.rows.all_rows()
    for found, theirs in ((weight, dense.weight.detach()), (momentum, dense.momentum)):
        assert (found - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def test_values_other_corrections_are_noticed():
    start = head_of(5).rows.store.weight.clone()
    for rate, close in ((warm_up, False), (lambda step: 0.1, True)):
        expected, _, _ = dense_run(start, range(60), 5, rate=rate)
        formula, _ = run(head_of(5, correction="closed_form"), range(60), rate=rate)
        assert (deviation(formula, expected) < 1e-11) == close
        nothing, _ = run(head_of(5, correction="none"), range(60), rate=rate)
        assert deviation(nothing, expected) > 0.05


@pytest.mark.parametrize("num_negatives", [N, 2 * N, None])
def test_equivalence_enough_negatives_are_the_full_softmax(num_negatives):
    """50 steps of the plain parameter under torch's SGD, and of rows that the head steps itself."""
    if num_negatives is None:
        head = head_of(None, shard=True)
    else:
        head = head_of(num_negatives, init_recent="all")
    plain = head_of(None)
    assert torch.equal(plain.weight, head.rows.store.weight)
    losses, _ = run(head, range(50))
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1, **SGD)
    expected = []
    for step in range(50):
        features, index = batch_of(step)
        loss = loss_of(plain, features, index)
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = warm_up(step)
        optimizer.step()
        expected.append(loss.detach())
    assert deviation(losses, expected) < 1e-12
    weight, momentum = head.rows.all_rows()
    torch.testing.assert_close(weight, plain.weight.detach(), rtol=0, atol=1e-12)
    torch.testing.assert_close(
        momentum, optimizer.state[plain.weight]["momentum_buffer"], rtol=0, atol=1e-12
    )
    assert torch.equal(head.class_weights(), weight)
    assert torch.equal(plain.class_weights(), plain.weight)


def test_equivalence_storage_changes_nothing(tmp_path):
    expected = run(head_of(5), range(40))[0]
    for options in (dict(storage="host"), dict(storage="host", folder=str(tmp_path))):
        head = head_of(5, **options)
        assert deviation(run(head, range(40))[0], expected) == 0
        assert all(name.count("store") == 0 for name, _ in head.named_buffers())


def test_state_saved_and_continued_anywhere_is_bit_equal():
    """Also with rows that owe steps, and after a file went through the host's storage."""
    straight = head_of(5, dtype=torch.float32)
    losses, _ = run(straight, range(40))
    for at in (1, 17, 33):
        first = head_of(5, dtype=torch.float32)
        run(first, range(at))
        owing = first.rows.cohorts.births
        assert at == 1 or len(owing) > 2
        saved = copy.deepcopy(first.state_dict())
        for storage in ("device", "host"):
            second = head_of(5, dtype=torch.float32, storage=storage)
            run(second, range(3))  # whatever it did before is forgotten
            second.load_state_dict(saved)
            assert deviation(run(second, range(at, 40))[0], losses[at:]) == 0
            expected = straight.state_dict()
            for key, value in second.state_dict().items():
                assert torch.equal(value, expected[key]), key


@pytest.mark.parametrize("correction", ["exact", "closed_form"])
def test_state_flush_brings_every_row_up_to_date_and_training_goes_on(correction):
    def rate(step: int) -> float:
        return 0.1

    expected, _, dense = dense_run(head_of(5).rows.store.weight.clone(), range(20), 5, rate=rate)
    head = head_of(5, correction=correction)
    losses, _ = run(head, range(20), rate=rate)
    head.rows.flush()
    torch.testing.assert_close(head.rows.store.weight, dense.weight.detach())
    torch.testing.assert_close(head.rows.store.momentum, dense.momentum)
    more, _ = run(head, range(20, 40), rate=rate)
    whole, _, _ = dense_run(head_of(5).rows.store.weight.clone(), range(40), 5, rate=rate)
    assert deviation(losses + more, whole) < 1e-11
    lazy = head_of(5, correction="none")
    run(lazy, range(5))
    idle = lazy.rows.store.cohort >= 0
    before = lazy.rows.store.weight.clone()
    lazy.rows.flush()
    assert torch.equal(lazy.rows.store.weight[idle], before[idle])


def test_state_rows_that_are_all_in_use_are_held_once():
    """A classifier over everything is no second copy of its store, also after it was loaded."""
    for head in (head_of(None, shard=True), head_of(N, init_recent="all")):
        assert len(head.rows.weight) == 0
        run(head, range(3))
        other = copy.deepcopy(head)
        other.load_state_dict(head.state_dict())
        for rows in (head.rows, other.rows):
            assert rows.weight.data_ptr() == rows.store.weight.data_ptr()
            assert rows.momentum.data_ptr() == rows.store.momentum.data_ptr()
        assert deviation(run(other, range(3, 6))[0], run(head, range(3, 6))[0]) == 0


def accumulated(head: InstanceClassifier, steps: range) -> None:
    """Two batches for every step."""
    for step in steps:
        for part in (2 * step, 2 * step + 1):
            features, index = batch_of(part)
            (loss_of(head, features, index) / 2).backward()
            head.rows.keep_gradient()
        head.rows.step(warm_up(step), **SGD)


def test_values_accumulated_batches_share_a_step():
    """With all rows in the softmax it is SGD on the sum of the gradients."""
    head = head_of(N, init_recent="all")
    dense = DenseRows(head.rows.store.weight, num_negatives=None, temperature=T, **SGD)
    accumulated(head, range(10))
    for step in range(10):
        for part in (2 * step, 2 * step + 1):
            features, index = batch_of(part)
            (dense.loss(features[:B], features[B:], index) / 2).backward()
        dense.step(warm_up(step), index)
    torch.testing.assert_close(head.rows.all_rows()[0], dense.weight.detach())


def test_state_saved_inside_of_an_accumulation_is_bit_equal():
    """No row leaves before the step, and the gradient of the first batch is in the file."""
    straight = head_of(3)
    accumulated(straight, range(6))
    features, index = batch_of(12)
    (loss_of(straight, features, index) / 2).backward()
    saved = copy.deepcopy(straight.state_dict())
    assert len(saved["rows.gradient"]) == len(straight.rows.members)
    assert torch.equal(saved["rows.batch"], index)
    resumed = head_of(3)
    resumed.load_state_dict(saved)
    for head in (straight, resumed):
        features, index = batch_of(13)
        before = head.rows.members
        (loss_of(head, features, index) / 2).backward()
        assert torch.isin(before, head.rows.members).all()
        head.rows.step(warm_up(6), **SGD)
        accumulated(head, range(7, 9))
    expected = straight.state_dict()
    for key, value in resumed.state_dict().items():
        assert torch.equal(value, expected[key]), key


def test_state_a_batch_that_was_dropped_has_never_been():
    """Neither rows nor recent list remember it."""
    clean, hurt = head_of(5), head_of(5)
    for head in (clean, hurt):
        run(head, range(15))
    features, index = batch_of(99)
    loss_of(hurt, features, (index + 9) % N).backward()
    hurt.rows.discard()
    assert deviation(run(hurt, range(15, 30))[0], run(clean, range(15, 30))[0]) < 1e-13
    for mine, theirs in zip(hurt.rows.all_rows(), clean.rows.all_rows()):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-13)


def test_values_loss_scale_is_taken_out():
    plain, scaled = head_of(5), head_of(5)
    for step in range(10):
        features, index = batch_of(step)
        loss_of(plain, features, index).backward()
        (1024 * loss_of(scaled, features, index)).backward()
        plain.rows.step(warm_up(step), **SGD)
        scaled.rows.step(warm_up(step), **SGD, loss_scale=1024.0)
    assert torch.equal(plain.rows.all_rows()[0], scaled.rows.all_rows()[0])


def test_state_evaluation_leaves_the_list_alone():
    head = head_of(5)
    run(head, range(6))
    known = head.rows.recent.known
    head.eval()
    with torch.no_grad():
        loss_of(head, *batch_of(50))
    head.train()
    assert len(head.rows.batch) == 0
    expected = head_of(5)
    run(expected, range(6))
    assert deviation(run(head, range(6, 9))[0], run(expected, range(6, 9))[0]) < 1e-13
    assert not torch.equal(head.rows.recent.known, known)


def test_values_the_draw_is_the_same_however_rows_are_kept():
    starts = [head_of(None).weight]
    starts += [head_of(5, **o).rows.store.weight for o in ({}, dict(storage="host"))]
    assert torch.equal(starts[0], starts[1]) and torch.equal(starts[1], starts[2])
    assert starts[0].std().item() == pytest.approx(1.0, abs=0.2)


def test_state_gone_rows_are_told():
    head, saved = head_of(5), head_of(5).state_dict()
    without = {key: value for key, value in saved.items() if "rows." not in key}
    with pytest.raises(RuntimeError, match=r"Missing key\(s\).*rows\.weight"):
        head.load_state_dict(without)
    with pytest.raises(RuntimeError, match="Unexpected key.*rows.other"):
        head.load_state_dict({**saved, "rows.other": torch.zeros(1)})
    other = InstanceClassifier(D, N + 1, num_negatives=5)
    with pytest.raises(RuntimeError, match="a row for each of 31 images.*in the file"):
        head.load_state_dict(other.state_dict())


@pytest.mark.parametrize("num_negatives", [None, 5])
def test_raises_on_images_without_a_row(num_negatives):
    head = head_of(num_negatives)
    for index in ([0, 30], [-1, 3]):
        with pytest.raises(ValueError, match="has 30 rows, one for each training image"):
            head(torch.tensor(index))


def test_raises_on_options_that_do_not_fit():
    with pytest.raises(ValueError, match="num_instances >= 1"):
        InstanceClassifier(8, 0)
    with pytest.raises(
        ValueError, match="storage of an InstanceClassifier is for a sampled softmax"
    ):
        InstanceClassifier(8, 5, storage="host")
    for options in (
        dict(init_recent="bogus"),
        dict(correction="bogus"),
        dict(correction="none", shard=True),
        dict(folder="/nowhere"),
    ):
        with pytest.raises(
            ValueError, match=f"{next(iter(options))} of an InstanceClassifier is for"
        ):
            InstanceClassifier(8, 5, **options)
    with pytest.raises(ValueError, match="correction must be one of"):
        InstanceClassifier(8, 5, num_negatives=2, correction="bogus")
    with pytest.raises(ValueError, match="init_recent must be"):
        InstanceClassifier(8, 5, num_negatives=2, init_recent="some")


@pytest.mark.parametrize("theirs", ["closed_form", "none"])
def test_raises_on_rows_that_another_correction_kept(theirs):
    """Its file does not hold what the rows owe in the way of the other."""
    head, other = head_of(5), head_of(5, correction=theirs)
    run(other, range(15))
    before = copy.deepcopy(head.state_dict())
    with pytest.raises(
        RuntimeError, match=f"correction is '{theirs}' in the file and 'exact' here"
    ):
        head.load_state_dict(other.state_dict())
    assert torch.equal(head.state_dict()["rows.weight"], before["rows.weight"])


def test_state_looked_at_between_forward_and_backward():
    """A state dict in between takes no gradient away."""
    plain, looked = head_of(5), head_of(5)
    for step in range(6):
        for head in (plain, looked):
            features, index = batch_of(step)
            loss = loss_of(head, features, index)
            if head is looked:
                head.state_dict()
            loss.backward()
            head.rows.step(warm_up(step), **SGD)
    assert torch.equal(plain.rows.all_rows()[1], looked.rows.all_rows()[1])


@pytest.mark.parametrize("options", [dict(), dict(init_recent="all"), dict(storage="host")])
def test_state_a_new_run_begins_with_the_weights_alone(options):
    """No momentum, no step that is owed, no half of an accumulation, no recent image."""
    head, other = head_of(5, **options), head_of(5, **options)
    run(head, range(15))
    loss_of(head, *batch_of(15)).backward()
    head.rows.keep_gradient()
    weight = copy.deepcopy(head).rows.all_rows()[0]
    head.rows.restart()
    assert (head.rows.num_steps, len(head.rows.gradient), len(head.rows.batch)) == (0, 0, 0)
    other.rows.store.weight.copy_(weight)
    assert deviation(run(head, range(20, 30))[0], run(other, range(20, 30))[0]) == 0
    for mine, theirs in zip(head.rows.all_rows(), other.rows.all_rows()):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("options", [dict(num_negatives=5), dict(num_negatives=None, shard=True)])
def test_state_a_parameter_is_a_start_of_other_rows(options):
    plain, head = head_of(None), head_of(options.pop("num_negatives"), **options)
    with torch.no_grad():
        plain.weight.mul_(2)
    run(head, range(9))  # whatever it did before is forgotten
    head.load_state_dict(plain.state_dict())
    weight, momentum = head.rows.all_rows()
    assert torch.equal(weight, plain.weight) and not momentum.any()
    fresh = head_of(head.rows.recent and 5, **options)
    fresh.rows.store.weight.mul_(2)
    assert deviation(run(head, range(12))[0], run(fresh, range(12))[0]) == 0
    larger = InstanceClassifier(D, N + 1)
    with pytest.raises(RuntimeError, match="a row for each of 31 images of 6 numbers in the file"):
        head.load_state_dict(larger.state_dict())


def test_raises_on_files_of_other_options():
    five, seven = head_of(5), head_of(7)
    with pytest.raises(RuntimeError, match=r"is 7 here, 5 in the file. Set num_negatives=5"):
        seven.load_state_dict(five.state_dict())
    with pytest.raises(RuntimeError, match="rows of a sampled or sharded classifier.*Set num_neg"):
        head_of(None).load_state_dict(five.state_dict())


def test_state_what_is_owed_is_not_rounded_with_the_model():
    head = head_of(5, dtype=torch.float32)
    run(head, range(10))
    before = head.rows.cohorts.operators.clone()
    head.half().float()
    assert before.dtype == torch.float64 and len(before) > 2
    assert torch.equal(head.rows.cohorts.operators, before)


@pytest.mark.parametrize("shard", [False, True])
def test_values_many_copies_in_host_memory_are_told(monkeypatch, shard):
    told = []
    module = "mmssl.models.heads.instance_classifier"
    monkeypatch.setattr(f"{module}.world_size", lambda: 2)
    monkeypatch.setattr(f"{module}.print_log", lambda text, **_: told.append(text))
    head_of(5, storage="host", shard=shard)
    assert ["wants shard=True" in text for text in told] == [True] * (not shard)
