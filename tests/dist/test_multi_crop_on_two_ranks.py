"""DINO and EsViT on two gloo processes compute what one process with twice the batch computes."""

from __future__ import annotations

import pytest
import torch

from mmssl.engine.hooks import latest_checkpoint
from tests.helpers.processes import start, train
from tests.helpers.runs import method_config

pytestmark = pytest.mark.dist


@pytest.mark.parametrize("method", ["dino", "esvit"])
def test_equivalence_with_one_process_of_twice_the_batch(tmp_path, method):
    """Gradients, both centers, the last layer that rests for an epoch, and the twin."""
    config = method_config(tmp_path, method, **{"model.backbone.drop_path_rate": 0.0})
    config.merge_from_dict(dict(custom_imports=dict(imports=["tests.helpers.toy"])))
    for key in ("work_dir", "experiment_name"):
        config.pop(key)
    file = tmp_path / "config.py"
    config.dump(file)
    two = start(
        "bash", "tools/dist_train.sh", file, "2", "--work-dir", tmp_path / "two",
        "--cfg-options", "train_dataloader.batch_size=2",
        log=tmp_path / "two.log",
    )  # fmt: skip
    one = train(file, "--work-dir", tmp_path / "one", log=tmp_path / "one.log")
    assert one.wait(240) == 0, (tmp_path / "one.log").read_text()[-3000:]
    assert two.wait(240) == 0, (tmp_path / "two.log").read_text()[-3000:]
    states = [
        torch.load(latest_checkpoint(tmp_path / name), weights_only=True)["state_dict"]
        for name in ("one", "two")
    ]
    assert states[0]["center.mean"].abs().max() > 0
    for key, value in states[0].items():
        # AdamW divides by gradients, some of which are nearly zero
        torch.testing.assert_close(states[1][key], value, rtol=1e-3, atol=1e-4, msg=key)
