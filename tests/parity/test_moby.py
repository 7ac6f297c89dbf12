"""MoBY over three steps against the official code; every key of its checkpoints."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import Tensor
from torch.nn import functional as F

from mmssl.convert.official.moby import from_official, to_official
from mmssl.engine.config import load_config
from mmssl.engine.schedulers import WarmupCosineLR
from mmssl.models.algorithms import MoBY
from mmssl.models.backbones import Swin
from mmssl.ops.schedules import Cosine
from mmssl.registry import MODELS
from mmssl.structures import Progress, ViewBatch
from tests.helpers.fill import fill, image
from tests.helpers.goldens import Golden, official_keys
from tests.helpers.official_steps import official_norms, unlabelled

pytestmark = pytest.mark.parity
NORM = dict(type="BN1d")
CONFIGS = Path(__file__).parents[2] / "configs/moby"
RECIPES = ["swin-tiny-w7_8xb64-coslr-300e_in1k", "deit-small-p16_8xb64-coslr-300e_in1k"]


def built(golden: Golden) -> tuple[MoBY, int]:
    """Our model of a case with the filled weights through our converter, and the steps of the run."""
    text = golden.entry["built"]

    def number(name: str, kind: type = int) -> float:
        return kind(re.search(rf"\b{name}=([\d.]+)", text)[1])

    def row(name: str) -> tuple[int, ...]:
        return tuple(map(int, re.search(rf"\b{name}=\[([\d, ]+)\]", text)[1].split(",")))

    swin = Swin(
        number("embed_dim"), depths=row("depths"), num_heads=row("num_heads"),
        window_size=number("window_size"), pretrain_img_size=number("img_size"),
        drop_path_rate=0.0, norm_eps=1e-5,
    )  # fmt: skip
    model = MoBY(
        swin,
        dict(type="MLPNeck", num_layers=number("proj_num_layers")),
        dict(type="MLPPredictor", num_layers=number("pred_num_layers")),
        queue_length=number("contrast_num_negative"),
        temperature=number("contrast_temperature", float),
        momentum=Cosine(number("contrast_momentum", float), 1.0),
    )
    theirs = to_official(model.state_dict())
    filled = {key: fill(key, value.shape) for key, value in theirs.items()}
    for name in ("queue1", "queue2"):
        filled[name] = F.normalize(filled[name], dim=0)
    filled["queue_ptr"] = torch.zeros(1, dtype=torch.long)
    model.load_state_dict(from_official(filled))
    per_epoch = number("TRAINING_IMAGES") // number("BATCH_SIZE")
    return model, per_epoch * number("EPOCHS")


def views_of(golden: Golden, step: int, dtype: torch.dtype) -> ViewBatch:
    """The two views of a step: noise with a colour offset per image."""
    shape = golden.entry["inputs"][0][1]
    name = f"{golden.case}/{step}"
    offset = 2 * image(f"{name}/offset", [shape[0], shape[1], 1, 1])
    images = [(image(f"{name}/{view}", shape) + offset).to(dtype) for view in "ab"]
    return unlabelled(images)


def norms(model: MoBY, names: list[str], value: Callable[[Tensor], Tensor]) -> Tensor:
    """`official_norms` by MoBY's names."""
    return official_norms(model, to_official, names, value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_three_steps(dtype: torch.dtype) -> None:
    golden = Golden("esvit", "moby")
    model, total = built(golden)
    model = model.to(dtype).train()
    online = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(
        online, lr=float(re.search(r"SGD lr ([\d.]+)", golden.entry["built"])[1])
    )
    names = golden.entry["parameters"]
    copies = [
        re.sub(r"^(encoder|projector)\.", r"\1_k.", name)
        for name in names
        if not name.startswith("predictor")
    ]
    losses, gradients, keys, pointers = [], [], [], []
    for step in range(len(golden.arrays["loss"])):
        model.progress = Progress(step, total, 0, 1)
        # theirs moves the copies inside the forward pass, also the first time
        model.twin.update(model, step, total)
        loss = model(views_of(golden, step, dtype), mode="loss")["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        gradients.append(norms(model, names, lambda p: p if p.grad is None else p.grad))
        keys.append(norms(model, copies, Tensor.detach))
        pointers.append(int(model.queues[0].pointer))
        assert int(model.queues[1].pointer) == pointers[-1]
    golden.check("loss", torch.stack(losses))
    golden.check("grad_norms", torch.stack(gradients))
    golden.check("key_norms", torch.stack(keys))
    golden.check("ptr", torch.tensor(pointers))
    golden.check("queue1", model.queues[0].features.T)
    golden.check("queue2", model.queues[1].features.T)
    golden.check("bn_mean", model.head.layers[1].running_mean)


def test_state_official_keys_are_complete() -> None:
    """Every key of the published pretraining has a place of its shape, and the way back gives all of them."""
    listed = dict(official_keys("esvit")["moby_swin_tiny_w7"]["keys"])
    with torch.device("meta"):
        model = MoBY(
            Swin(drop_path_rate=0.2, norm_eps=1e-5),
            dict(type="MLPNeck", norm_cfg=NORM),
            dict(type="MLPPredictor", norm_cfg=NORM),
        )
        state = {key: torch.empty(shape) for key, shape in listed.items()}
    ours = from_official(state)
    expected = {key: value.shape for key, value in model.state_dict().items()}
    assert {key: value.shape for key, value in ours.items()} == expected
    back = to_official(ours)
    derived = ("attn_mask", "relative_position_index")
    wanted = {key: shape for key, shape in listed.items() if not key.endswith(derived)}
    assert {key: list(value.shape) for key, value in back.items()} == wanted


def test_state_official_keys_of_the_linear_evaluation_are_complete() -> None:
    listed = dict(official_keys("esvit")["moby_swin_tiny_w7_linear"]["keys"])
    with torch.device("meta"):
        backbone = Swin(norm_eps=1e-5)
        ours = from_official({key: torch.empty(shape) for key, shape in listed.items()})
    expected = {f"backbone.{key}": value.shape for key, value in backbone.state_dict().items()}
    expected |= {"head.fc.weight": (1000, 768), "head.fc.bias": (1000,)}
    assert {key: value.shape for key, value in ours.items()} == expected
    derived = ("attn_mask", "relative_position_index")
    wanted = {key: shape for key, shape in listed.items() if not key.endswith(derived)}
    assert {key: list(value.shape) for key, value in to_official(ours).items()} == wanted


@pytest.mark.parametrize("recipe", RECIPES)
def test_values_what_the_recipes_decay(recipe: str) -> None:
    """All but biases and what has one dimension: the released code never sees Swin's list of exceptions."""
    config = load_config(str(CONFIGS / f"moby_{recipe}.py"))
    with torch.device("meta"), DefaultScope.overwrite_default_scope("mmssl"):
        model = MODELS.build(config.model)
        wrapper = build_optim_wrapper(model, config.optim_wrapper)
    decay = {
        parameter: group["weight_decay"]
        for group in wrapper.optimizer.param_groups
        for parameter in group["params"]
    }
    online = {n: p for n, p in model.named_parameters() if not n.startswith("twin.")}
    assert set(decay) == set(online.values())
    for name, parameter in online.items():
        excepted = parameter.ndim == 1 or name.endswith(".bias")
        assert decay[parameter] == (0.0 if excepted else 0.05), name
    assert wrapper.defaults["betas"] == (0.9, 0.999) and wrapper.defaults["eps"] == 1e-8
    assert wrapper.clip_grad_kwargs["max_norm"] == 5.0


@pytest.mark.parametrize("epochs", [300, 100])
def test_values_learning_rates_of_the_recipes(epochs: int) -> None:
    """Over the whole run against the formula, for the 2502 iterations of ImageNet in batches of 512."""
    config = load_config(str(CONFIGS / f"moby_swin-tiny-w7_8xb64-coslr-{epochs}e_in1k.py"))
    assert config.train_cfg.max_epochs == epochs
    optimizer = torch.optim.SGD(
        [torch.nn.Parameter(torch.zeros(1))], lr=config.optim_wrapper.optimizer.lr
    )
    options = dict(config.param_scheduler[0], end=epochs, epoch_length=2502)
    assert options.pop("type") == "WarmupCosineLR" and options.pop("convert_to_iter_based")
    schedule = WarmupCosineLR.build_iter_from_epoch(optimizer, **options)
    warmup, total = 5 * 2502, epochs * 2502
    for step in (0, 1, 777, warmup - 1, warmup, warmup + 1, total // 2, total - 1):
        if step:
            schedule.jump_to(step)
        expected = 5e-7 + (1e-3 - 5e-7) * step / warmup
        if step >= warmup:
            expected = 5e-6 + (1e-3 - 5e-6) * (1 + math.cos(math.pi * step / total)) / 2
        assert optimizer.param_groups[0]["lr"] == pytest.approx(expected, rel=1e-12), step
