"""A method with queues on two gloo processes: keys of both ranks go into the queues of both."""

from __future__ import annotations

import pytest
import torch

from mmssl.engine.hooks import latest_checkpoint
from tests.helpers.processes import TOY, start, train

pytestmark = pytest.mark.dist
PLAIN = ("train_dataloader.num_workers=0", "train_dataloader.persistent_workers=False")


@pytest.mark.parametrize("method", ["densecl", "moby", "moco"])
def test_equivalence_with_one_process_of_twice_the_batch(tmp_path, method):
    config = TOY.with_name(f"toy_{method}.py")
    two = start(
        "bash", "tools/dist_train.sh", config, "2", "--work-dir", tmp_path / "two",
        "--cfg-options", *PLAIN, "train_dataloader.batch_size=4",
        log=tmp_path / "two.log",
    )  # fmt: skip
    one = train(
        config, "--work-dir", tmp_path / "one",
        "--cfg-options", *PLAIN, "train_dataloader.batch_size=8",
        log=tmp_path / "one.log",
    )  # fmt: skip
    assert one.wait(240) == 0, (tmp_path / "one.log").read_text()[-3000:]
    assert two.wait(240) == 0, (tmp_path / "two.log").read_text()[-3000:]
    one_state, two_state = (
        torch.load(latest_checkpoint(tmp_path / name), weights_only=True)["state_dict"]
        for name in ("one", "two")
    )
    for key, value in one_state.items():
        if key.endswith(".features"):
            # the two ranks share out the images of a batch in another order
            for expected, actual in zip(value.split(8), two_state[key].split(8), strict=True):
                distance, partner = torch.cdist(expected, actual).min(dim=1)
                assert distance.max() < 1e-5, key
                assert sorted(partner.tolist()) == list(range(8)), key
        else:
            torch.testing.assert_close(two_state[key], value, rtol=1e-5, atol=1e-6, msg=key)
    (pointer,) = {int(value) for key, value in one_state.items() if key.endswith("pointer")}
    assert pointer == 15 * 8 % 16
