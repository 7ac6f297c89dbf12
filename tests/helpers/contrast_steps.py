"""Training steps of MoCo and HCSC as their goldens prescribe them, with weights through our converter."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from mmengine.model import BaseModel
from torch import Tensor
from torch.nn import functional as F

from mmssl.convert.official.moco import from_official, to_official
from mmssl.models.backbones import ResNet
from tests.helpers.fill import fill
from tests.helpers.golden_inputs import strided
from tests.helpers.goldens import Golden
from tests.helpers.official_steps import gradient, official_norms

_LACKING = ("prototypes.", "key_partition")
FLOAT64_RTOL = 1e-6
BUFFERS = [
    f"encoder_{encoder}.{name}"
    for encoder in "qk"
    for name in ("bn1.running_mean", "bn1.running_var", "layer4.1.bn2.running_var")
]


def resnet18() -> ResNet:
    """The encoder of the cases, without its `fc`."""
    return ResNet(18, out_indices=(3,))


def neck(dim: int, *, mlp: bool) -> dict:
    """Their `fc` on a ResNet-18."""
    return dict(type="MLPNeck", hid_channels=512, out_channels=dim, num_layers=2 if mlp else 1)


def fill_model(model: BaseModel, dtype: torch.dtype) -> BaseModel:
    """The model with the filled weights, ready to train; its queue is at the first row."""
    state = model.state_dict()
    theirs = to_official({k: v for k, v in state.items() if not k.startswith(_LACKING)})
    filled = {key: fill(key, value.shape) for key, value in theirs.items()}
    filled["queue"] = F.normalize(filled["queue"], dim=0)
    filled["queue_ptr"] = torch.zeros(1, dtype=torch.long)
    if "queue_index" in theirs:
        filled["queue_index"] = torch.arange(len(theirs["queue_index"]))
    model.load_state_dict(state | from_official(filled))
    return model.to(dtype).train()


def sgd(model: BaseModel, lr: float) -> torch.optim.Optimizer:
    """The optimizer of the cases: all parameters that learn decay."""
    online = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.SGD(online, lr=lr, momentum=0.9, weight_decay=1e-4)


def norms(model: BaseModel, names: Sequence[str], value: Callable[[Tensor], Tensor]) -> Tensor:
    """`official_norms` by MoCo's names."""
    return official_norms(model, to_official, names, value)


def buffers(model: BaseModel) -> dict[str, Tensor]:
    """The statistics that the cases store, by official name."""
    state = {k: v for k, v in model.state_dict().items() if not k.startswith(_LACKING)}
    theirs = to_official(state)
    return {name: theirs[name][:16].clone() for name in BUFFERS}


def after_step(model: BaseModel, names: Sequence[str]) -> dict[str, Tensor]:
    """What the cases store of a step, after the optimizer has made it."""
    keys = [name.replace("encoder_q", "encoder_k") for name in names]
    return dict(
        grad_norms=norms(model, names, gradient),
        param_norms=norms(model, names, Tensor.detach),
        param_k_norms=norms(model, keys, Tensor.detach),
        **buffers(model),
    )


def contrast_logits(
    q: Tensor, k: Tensor, queue: Tensor, temperature: float, keep: Tensor | float = 1.0
) -> Tensor:
    """(N, 1 + K) logits as theirs, own key first; removed negatives are 0."""
    own = (q * k).sum(dim=1, keepdim=True)
    return torch.cat([own, keep * (q @ queue.T)], dim=1).detach() / temperature


def check(
    golden: Golden, found: dict[str, Tensor | np.ndarray | float], dtype: torch.dtype
) -> None:
    """Compare with the stored arrays, relative to their largest entries: all in float64, else the listed."""
    listed = golden.entry["tolerance"]["run_in_float32"]
    for name, value in found.items():
        expected = golden.arrays[name].astype(np.float64)
        if dtype == torch.float32 and name not in listed:
            continue
        tolerance = FLOAT64_RTOL if dtype == torch.float64 else float(listed[name])
        actual = torch.as_tensor(value).detach().double().numpy()
        if actual.size != expected.size:
            actual = strided(actual)
        deviation = np.abs(actual.ravel() - expected.ravel()).max() / np.abs(expected).max()
        assert deviation <= tolerance, f"{golden.case} {name}: {deviation:.3g} > {tolerance:.3g}"
