"""CARE as a whole against the authors' model: losses, gradients, teacher, steps, encoders, classifier."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmssl.convert.convert_file import convert_file
from mmssl.convert.key_map import check_complete, rename_keys
from mmssl.convert.load_algorithm import load_algorithm
from mmssl.convert.official.care import (
    RULES,
    encoder_rules,
    from_official,
    linear_config,
    model_config,
    to_official,
)
from mmssl.losses import unit_norm
from mmssl.models.heads import LinearHead
from mmssl.registry import MODELS
from mmssl.structures import Progress, ViewBatch
from tests.helpers.fill import fill, fill_keys, image
from tests.helpers.goldens import Golden, official_keys
from tests.helpers.official_steps import unlabelled

pytestmark = pytest.mark.parity

RELEASED = (
    "CARE(0.99, total_iters) [ResNet-50, the released model]; a released file has each key prefixed "
    "with module."
)


@pytest.fixture(scope="module")
def filled() -> dict[str, torch.Tensor]:
    """The filled state dict of the released model, in our layout."""
    return from_official(fill_keys(official_keys("care")[RELEASED]))


def build(state: dict[str, torch.Tensor], dtype: torch.dtype = torch.float32) -> nn.Module:
    """The model that the converter reads from a state dict, with copies of its weights."""
    with torch.device("meta"):
        model = MODELS.build(model_config(state, norm="BN"))
    copies = {key: value.clone() for key, value in state.items()}
    if "twin.num_updates" in copies:
        check_complete(copies, model.state_dict())
    model.load_state_dict(copies, strict="twin.num_updates" in copies, assign=True)
    model.progress = Progress(0, 1000, 0, 1)
    return model.to(dtype) if dtype != torch.float32 else model


def freeze_norms(model: nn.Module) -> nn.Module:
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    return model


def views_of(images: list[torch.Tensor]) -> ViewBatch:
    return unlabelled(images)


def loss_rows(losses: dict[str, torch.Tensor]) -> torch.Tensor:
    parts = [losses[name] for name in ("loss_c", "loss_t", "loss_att")]
    return torch.stack([sum(parts), *parts])


def official_names(model: nn.Module) -> dict[str, nn.Parameter]:
    """Online parameters by the authors' names without prefix."""
    named = {k: v for k, v in model.named_parameters() if not k.startswith("twin.")}
    return rename_keys(named, encoder_rules(), backward=True)


def record_passes(model: nn.Module) -> dict[str, torch.Tensor]:
    """Outputs of the four encoder passes, filled in when the loss runs."""
    outputs, order = {}, []

    def maps(module, args, out):
        order.append(("student" if module is model.t_stream else "teacher", out.detach()))

    model.t_stream.register_forward_hook(maps)
    model.twin.t_stream.register_forward_hook(maps)
    outputs["order"] = order
    for name, view_of in (("embed", "student"), ("twin_embed", "teacher")):
        method = getattr(model, name)

        def recorded(images, method=method, view_of=view_of):
            c, t = method(images)
            place = 1 if images is model.recorded_views[0] else 2
            outputs[f"{view_of}_view{place}"] = (c.detach(), t.detach(), order[-1][1])
            return c, t

        setattr(model, name, recorded)
    return outputs


def run_step_case(case: str, state: dict, dtype: torch.dtype, frozen: bool) -> None:
    golden = Golden("care", case)
    model = build(state, dtype)
    if frozen:
        freeze_norms(model)
    else:
        model.train()
    images = [image(i["name"], i["shape"]).to(dtype) for i in golden.entry["inputs"]]
    model.recorded_views = images
    passes = record_passes(model)

    model.twin.update(model, 0, 1000)
    losses = model(views_of(images), mode="loss")
    assert [who for who, _ in passes["order"]] == ["student", "student", "teacher", "teacher"]
    golden.check("losses", loss_rows(losses), dtype)
    for name in ("student_view1", "student_view2", "teacher_view2", "teacher_view1"):
        for part, value in zip(("c_embed", "t_embed", "t_map"), passes[name]):
            golden.check(f"{name}/{part}", value, dtype)

    columns = golden.entry["grad_columns"]
    parameters = [official_names(model)[name] for name in columns]
    rows, total = [], [torch.zeros(()).double()] * len(columns)
    for term in ("loss_c", "loss_t", "loss_att"):
        gradients = torch.autograd.grad(
            losses[term], parameters, retain_graph=True, allow_unused=True
        )
        gradients = [torch.zeros(()) if g is None else g.double() for g in gradients]
        rows.append([g.norm() for g in gradients])
        total = [a + b for a, b in zip(total, gradients)]
    rows.append([g.norm() for g in total])
    golden.check("gradnorms", torch.tensor(rows), dtype)
    for row, term in enumerate(("con_loss", "con2_loss", "fea_loss")):
        for name in golden.entry["exactly_no_gradient"][term]:
            assert rows[row][columns.index(name)] == 0, f"{term} moves {name}"

    after = to_official(model.state_dict())
    for name in golden.entry["arrays"]:
        kind, _, key = name.partition("/")
        if kind == "teacher_after":
            golden.check(name, after[f"teacher_encoder.{key}"], dtype)
        elif kind == "buffer_after":
            golden.check(name, after[key], dtype)
    counts = golden.entry["num_batches_tracked_after"]
    for encoder in ("student", "teacher"):
        assert after[f"{encoder}_encoder.bn1.num_batches_tracked"] == counts[encoder]


def test_values_step_with_frozen_norms(filled):
    run_step_case("care_r50_frozenbn_b2", filled, torch.float32, frozen=True)


@pytest.mark.slow
def test_values_step_with_frozen_norms_float64(filled):
    run_step_case("care_r50_frozenbn_b2", filled, torch.float64, frozen=True)


@pytest.mark.slow
def test_values_step_with_batch_statistics(filled):
    # in float32 the batch statistics of four images on random weights amplify rounding to some percent
    run_step_case("care_r50_train_b4", filled, torch.float64, frozen=False)


def test_values_two_steps(filled):
    golden = Golden("care", "care_traj_2steps")
    model = freeze_norms(build(filled))
    online = [p for p in model.parameters() if p.requires_grad]
    sgd = torch.optim.SGD(online, lr=0.02, momentum=0.9, weight_decay=1e-4)
    rows = []
    for step in range(2):
        model.twin.update(model, step, 100)
        images = [image(f"care_traj_2steps/{step}/view{v}", [1, 3, 224, 224]) for v in (1, 2)]
        row = loss_rows(model(views_of(images), mode="loss"))
        sgd.zero_grad()
        row[0].backward()
        sgd.step()
        rows.append(row.detach())
    golden.check("losses", torch.stack(rows))
    after = to_official(model.state_dict())
    for name in golden.entry["arrays"]:
        encoder, _, key = name.partition("/")
        if encoder in ("student", "teacher"):
            golden.check(name, after[f"{encoder}_encoder.{key}"])


def test_values_twin_updates(filled):
    golden = Golden("care", "ema_params")
    model = build(filled)
    student = official_names(model)
    before = {name: value.clone() for name, value in model.twin.named_parameters()}
    buffers = {name: value.clone() for name, value in model.twin.named_buffers()}
    for index, iteration in enumerate(golden.entry["iterations"]):
        with torch.no_grad():
            for name in golden.entry["student_keys"]:
                student[name].copy_(fill(f"student_step{index}.{name}", student[name].shape))
        model.twin.update(model, iteration, 1000)
        after = to_official(model.state_dict())
        for name in golden.entry["arrays"]:
            update, _, key = name.partition("/")
            if int(update) == index:
                golden.check(name, after[f"teacher_encoder.{key}"].flatten()[:32])
    changed = [
        name for name, value in model.twin.named_parameters() if (value != before[name]).any()
    ]
    assert len(changed) == golden.entry["teacher_parameters_changed"]
    unchanged = [k for k, v in model.twin.named_buffers() if torch.equal(v, buffers[k])]
    assert len(unchanged) == len(buffers) - 1, "only num_updates may change"
    twins = {name.removeprefix("teacher_encoder.") for name in after if "teacher" in name}
    alone = [name for name in student if name not in twins]
    assert alone == golden.entry["student_parameters_without_teacher_twin"]


def test_values_loss_and_gradients_of_given_embeddings():
    shapes = {
        key: torch.empty(shape, device="meta") for key, shape in official_keys("care")[RELEASED]
    }
    golden = Golden("care", "care_loss_b6_d256")
    for dtype in (torch.float32, torch.float64):
        raw = {
            i["name"].split("/")[1]: image(i["name"], i["shape"]).to(dtype).requires_grad_()
            for i in golden.entry["inputs"]
        }
        unit = {name: unit_norm(value) for name, value in raw.items()}
        with torch.device("meta"):
            model = MODELS.build(model_config(from_official(shapes), norm="BN"))
        model.progress = Progress(0, 1000, 0, 1)
        view1, view2 = torch.zeros(6, 3, 8, 8), torch.ones(6, 3, 8, 8)
        online = {id(view1): ("q1", "tq1"), id(view2): ("q2", "tq2")}
        twin = {id(view2): ("k1", "tk1"), id(view1): ("k2", "tk2")}
        model.embed = lambda images: tuple(unit[name] for name in online[id(images)])
        model.twin_embed = lambda images: tuple(unit[name] for name in twin[id(images)])
        rows = loss_rows(model(views_of([view1, view2]), mode="loss"))
        golden.check("losses", rows)
        names = ["q1", "q2", "tq1", "tq2"]
        gradients = torch.autograd.grad(rows[0], [raw[name] for name in names])
        for name, gradient in zip(names, gradients):
            golden.check(f"grad/{name}", gradient)


@pytest.mark.parametrize(
    ("case", "constructor", "depth", "width"),
    [
        ("encoder_r101_eval", "resnet101 predictor=True (student encoder)", 101, 1),
        ("encoder_r50w2_eval", "resnet50 width=2 predictor=True (student encoder)", 50, 2),
    ],
)
def test_values_other_backbones(case, constructor, depth, width):
    golden = Golden("care", case)
    state = from_official(fill_keys(official_keys("care")[constructor]))
    config = model_config(state, norm="BN")
    assert (config["backbone"]["depth"], config["backbone"].get("width", 1)) == (depth, width)
    model = build(state).eval()
    images = image(case, [1, 3, 224, 224])
    with torch.no_grad():
        c_embed, t_embed = model.embed(images)
        maps = model.extract_feat(images)
        golden.check("t_map", model.t_stream(maps[0]))
        golden.check("res5_pooled", model.pool(maps))
    golden.check("c_embed", c_embed)
    golden.check("t_embed", t_embed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_linear_evaluation_head(dtype):
    golden = Golden("care", "linear_eval_b4")
    keys = official_keys("care")
    name = next(name for name in keys if name.startswith("ResNetWithLinear"))
    state = from_official(fill_keys(keys[name]))
    backbone = MODELS.build(dict(type="ResNet", depth=50, out_indices=(3,))).eval().to(dtype)
    head = LinearHead(2048, 1000, norm=True).to(dtype)
    model = nn.ModuleDict(dict(backbone=backbone, head=head))
    check_complete(state, model.state_dict())
    model.load_state_dict(state)
    head.train()
    with torch.no_grad():
        features = backbone(image("linear_eval_b4", [4, 3, 224, 224]).to(dtype))[0].mean((2, 3))
    logits = head(features)
    golden.check("logits_train", logits)
    loss = F.cross_entropy(logits, torch.tensor(golden.entry["targets"]))
    golden.check("loss", loss)
    loss.backward()
    golden.check("grad_w", head.fc.weight.grad.double().norm(), dtype)
    golden.check("grad_gamma", head.norm.weight.grad)
    golden.check("bn_mean", head.norm.running_mean)
    golden.check("logits_eval", head.eval()(features))


def test_equivalence_converter_round_trip_of_the_released_layout():
    """Every official key is consumed, every tensor of ours is filled, and the way back is the identity."""
    for constructor, pairs in official_keys("care").items():
        if constructor.startswith(("ResNetWithLinear", "TransStack")):
            continue  # the next test
        official = {key: torch.empty(shape, device="meta") for key, shape in pairs}
        ours = from_official({f"module.{key}": value for key, value in official.items()})
        rules = RULES if constructor == RELEASED else encoder_rules()
        ours.pop("twin.num_updates", None)
        back = rename_keys(ours, rules, backward=True)
        assert list(back) == list(official)
        assert all(back[key] is official[key] for key in official)
        if "predictor=False" in constructor:
            continue
        with torch.device("meta"):
            model = MODELS.build(model_config(ours, norm="BN"))
        expected = {
            key: value
            for key, value in model.state_dict().items()
            if key != "twin.num_updates"
            and (constructor == RELEASED or not key.startswith("twin."))
        }
        check_complete(ours, expected)
        # the optimizer state of a released file is numbered by this order
        order = [key for key in expected if not key.startswith("twin.")]
        assert order == [key for key in ours if not key.startswith("twin.")]


@pytest.mark.parametrize("name", ["ResNetWithLinear", "TransStack"])
def test_equivalence_of_the_two_other_layouts(name: str) -> None:
    """The linear evaluation and the stack with relative positions, through the public functions."""
    (pairs,) = (p for c, p in official_keys("care").items() if c.startswith(name))
    official = {key: torch.empty(shape, device="meta") for key, shape in pairs}
    ours = from_official(official)
    with torch.device("meta"):
        if name == "TransStack":
            config = dict(in_channels=1024, out_channels=2048, fmap_size=14, pos_enc="relative")
            model = MODELS.build(dict(type="AttentionStack", **config))
        else:
            model = MODELS.build(linear_config(ours))
    check_complete(ours, model.state_dict())
    back = to_official(ours)
    kept = {key: value for key, value in official.items() if not key.startswith("encoder.fc.")}
    assert list(back) == list(kept)
    assert all(back[key] is value for key, value in kept.items())


def test_equivalence_of_a_file_of_the_linear_evaluation(tmp_path: Path) -> None:
    """The tool takes it for what it is, writes a classifier that loads, and goes back."""
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type="ImageClassifier",
            backbone=dict(type="ResNet", depth=18),
            head=dict(type="LinearHead", num_classes=5, norm=True),
        )
    )
    state = to_official(model.state_dict())
    unused = {"encoder.fc.0.weight": torch.zeros(8, 512), "encoder.fc.0.bias": torch.zeros(8)}
    theirs = {f"module.{key}": value for key, value in (state | unused).items()}
    torch.save(dict(classifier=theirs, best_top1=72.02), tmp_path / "theirs.pth")
    lines = convert_file(tmp_path / "theirs.pth", tmp_path / "ours.pth")
    assert "ImageClassifier from the layout of care_linear" in lines[0]
    network = load_algorithm(tmp_path / "ours.pth")
    assert all(map(torch.equal, network.state_dict().values(), model.state_dict().values()))
    convert_file(tmp_path / "ours.pth", tmp_path / "back.pth", to="official")
    back = torch.load(tmp_path / "back.pth", weights_only=True)["classifier"]
    assert back.keys() == {f"module.{key}" for key in state}
    assert all(torch.equal(back[key], theirs[key]) for key in back)
