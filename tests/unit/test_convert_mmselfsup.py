"""Checkpoints of mmselfsup and mmpretrain: complete on their names; their layers compute the same in ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import resnet18

from mmssl.convert.convert_file import convert_file
from mmssl.convert.key_map import behind, check_complete
from mmssl.convert.load_algorithm import load_algorithm
from mmssl.convert.load_backbone import load_backbone
from mmssl.convert.official.family_files import FAMILY_FILES, is_family_file, source_file
from mmssl.convert.official.method_files import METHOD_FILES
from mmssl.convert.official.mmselfsup import family_method, from_mmselfsup, said_by_config
from mmssl.convert.official.told_config import read_off
from mmssl.models.backbones import VisionTransformer
from mmssl.registry import MODELS
from tests.helpers.goldens import official_keys

KEYS = Path(__file__).parents[1] / "data/mm_keys"
NETWORKS = json.loads((KEYS / "networks.json").read_text())
LISTED = json.loads((KEYS / "models.json").read_text())


def listed(case: str) -> dict[str, Tensor]:
    """Their state dict, without memory; a network that is there twice is the same tensors, as in 0.x."""
    network = {key: tuple(shape) for key, shape in NETWORKS[LISTED[case]["network"]]}
    names = [(f"{p}{k}", shape) for p in LISTED[case]["behind"] for k, shape in network.items()]
    names += [(key, tuple(shape)) for key, shape in LISTED[case]["keys"]]
    return {
        key: torch.empty(shape, device="meta", dtype=torch.float32 if shape else torch.long)
        for key, shape in names
    }


@pytest.mark.parametrize("case", LISTED)
def test_values_every_name_of_theirs_is_a_parameter_of_ours(case: str) -> None:
    file = dict(state_dict=listed(case), meta=dict(epoch=3))
    method = LISTED[case]["method"]
    assert family_method(file) == method and is_family_file(file)
    assert family_method(file["state_dict"]) == method  # a state dict alone
    layout = source_file(method, file)
    assert layout is FAMILY_FILES[method]
    ours = layout.from_file(file, 7)
    config, guessed = read_off(file, ours, layout)
    assert all(name.split(".")[0] in ("backbone", *config) for name in guessed)
    with torch.device("meta"):
        model = MODELS.build(config)
    check_complete(ours, model.state_dict())
    # whatever no rule knows is an error, so nothing else is left behind
    for extra in (
        "neck.fc0.scale",
        "neck.more.weight",
        "head.fc_cls.weight",
        "backbone.layer5.0.weight",
    ):
        with pytest.raises(KeyError, match="belong to no known part"):
            layout.from_file(dict(state_dict=file["state_dict"] | {extra: torch.zeros(1)}), 1)


def test_values_files_of_the_authors_stay_theirs() -> None:
    """No official key list of any method is mistaken for one of mmselfsup."""
    for family in ("baselines", "care", "pixpro", "hcsc", "esvit"):
        for name, entry in official_keys(family).items():
            keys = entry["keys"] if isinstance(entry, dict) else entry
            state = {key: torch.empty(0) for key, _ in keys}
            assert family_method(dict(state_dict=state)) is None, (family, name)
    authors_dense = {"encoder_k.1.mlp2.0.weight": 0, "encoder_k.1.mlp.0.weight": 0, "queue2": 0}
    assert family_method(dict(state_dict=authors_dense)) is None


def filled(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same with random numbers, variances above 0."""
    return {
        key: torch.rand_like(value) + 0.5
        if key.endswith("running_var")
        else torch.randn_like(value)
        if value.is_floating_point()
        else value
        for key, value in state.items()
    }


def layers_of_stack(
    sizes: tuple[int, ...], *, bias: bool, last: str, last_bias: bool
) -> dict[str, Tensor]:
    """Weights of their `NonLinearNeck`; `last` is the last norm: `none`, `plain` or `affine`."""
    state: dict[str, Tensor] = {}
    for number, (before, after) in enumerate(zip(sizes, sizes[1:], strict=False)):
        is_last = number == len(sizes) - 2
        has_bias = last_bias if is_last else bias
        state |= behind(f"fc{number}.", nn.Linear(before, after, bias=has_bias).state_dict())
        if not is_last or last != "none":
            norm = nn.BatchNorm1d(after, affine=not is_last or last == "affine")
            state |= behind(f"bn{number}.", norm.state_dict())
    return filled(state)


def their_stack(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """fc - bn, then ReLU - fc - bn for each further layer, as their neck runs in eval mode."""
    for number in range(sum(key.endswith(".weight") and key[:2] == "fc" for key in state)):
        if number:
            x = x.relu()
        x = F.linear(x, state[f"fc{number}.weight"], state.get(f"fc{number}.bias"))
        bn = f"bn{number}."
        if f"{bn}running_mean" in state:
            x = F.batch_norm(
                x,
                state[f"{bn}running_mean"],
                state[f"{bn}running_var"],
                state.get(f"{bn}weight"),
                state.get(f"{bn}bias"),
            )
    return x


def trunk(prefix: str = "backbone.") -> dict[str, Tensor]:
    network = resnet18(weights=None)
    del network.fc
    return filled(behind(prefix, network.state_dict()))


STACKS: dict[str, Any] = {
    "byol": dict(sizes=(512, 6, 5), bias=True, last="none", last_bias=False),
    "moco_v3": dict(sizes=(512, 6, 5), bias=False, last="plain", last_bias=False),
    "simclr": dict(sizes=(512, 6, 5), bias=False, last="affine", last_bias=False),
    "simclr_less": dict(sizes=(512, 6, 5), bias=True, last="none", last_bias=True),
    "simsiam": dict(sizes=(512, 8, 8, 8), bias=False, last="plain", last_bias=False),
    "barlow_twins": dict(sizes=(512, 8, 8, 8), bias=False, last="none", last_bias=False),
}
PREDICTORS: dict[str, Any] = {
    "byol": dict(sizes=(5, 6, 5), bias=True, last="none", last_bias=False),
    "moco_v3": dict(sizes=(5, 6, 5), bias=False, last="plain", last_bias=False),
    "simsiam": dict(sizes=(8, 4, 8), bias=False, last="none", last_bias=True),
}
TWINS = dict(byol="target_net", moco_v3="momentum_encoder")


def family_file(case: str) -> dict[str, Any]:
    """A whole checkpoint as mmpretrain writes it, with random weights."""
    neck = layers_of_stack(**STACKS[case])
    state = trunk() | behind("neck.", neck)
    if case in PREDICTORS:
        state |= behind("head.predictor.", layers_of_stack(**PREDICTORS[case]))
    if case in TWINS:
        twin = trunk("0.") | behind("1.", layers_of_stack(**STACKS[case]))
        state |= behind(f"{TWINS[case]}.module.", twin)
        state[f"{TWINS[case]}.steps"] = torch.tensor(41)
    if case == "barlow_twins":
        state |= filled(behind("head.bn.", nn.BatchNorm1d(8, affine=False).state_dict()))
    return dict(state_dict=state, meta=dict(epoch=2))


def built(file: dict[str, Any]) -> nn.Module:
    method = family_method(file)
    assert method is not None
    ours = FAMILY_FILES[method].from_file(file, 1)
    model = MODELS.build(read_off(file, ours, FAMILY_FILES[method])[0])
    model.load_state_dict(ours)
    return model.eval()


def part_of(file: dict[str, Any], prefix: str) -> dict[str, Tensor]:
    state = file["state_dict"]
    return {key.removeprefix(prefix): state[key] for key in state if key.startswith(prefix)}


@torch.no_grad()
@pytest.mark.parametrize("case", STACKS)
def test_values_necks_and_predictors_compute_theirs(case: str) -> None:
    torch.manual_seed(0)
    file = family_file(case)
    model = built(file)
    x = torch.randn(3, 512)
    torch.testing.assert_close(model.neck(x), their_stack(part_of(file, "neck."), x))
    if case in PREDICTORS:
        z = torch.randn(3, PREDICTORS[case]["sizes"][0])
        theirs = their_stack(part_of(file, "head.predictor."), z)
        torch.testing.assert_close(model.head(z), theirs)
    if case in TWINS:
        copy = f"{TWINS[case]}.module."
        theirs = their_stack(part_of(file, f"{copy}1."), x)
        torch.testing.assert_close(model.twin.neck(x), theirs)
        assert torch.equal(
            model.twin.backbone.conv1.weight, file["state_dict"][f"{copy}0.conv1.weight"]
        )
        assert int(model.twin.num_updates) == 41
    if case == "barlow_twins":
        assert torch.equal(model.norm.running_mean, file["state_dict"]["head.bn.running_mean"])


@torch.no_grad()
def test_values_swav_neck_and_prototypes() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(6)
    stack = nn.Sequential(nn.Linear(512, 6), norm, nn.ReLU(), nn.Linear(6, 5))
    neck = filled(stack.state_dict())
    stack.load_state_dict(neck)
    state = trunk() | behind("neck.projection_neck.", neck)
    state |= behind("neck.norm.", norm.state_dict())
    state["head.loss_module.prototypes.weight"] = torch.randn(7, 5)
    model = built(dict(state_dict=state))
    x = torch.randn(3, 512)
    torch.testing.assert_close(model.neck(x), stack.eval()(x))
    scores = model.head(x[:, :5])
    torch.testing.assert_close(scores, x[:, :5] @ state["head.loss_module.prototypes.weight"].T)


@torch.no_grad()
@pytest.mark.parametrize("dense", [False, True])
def test_values_moco_and_densecl_necks_and_queues(dense: bool) -> None:
    torch.manual_seed(0)
    mlp = nn.Sequential(nn.Linear(512, 6), nn.ReLU(), nn.Linear(6, 5))
    cells = nn.Sequential(nn.Conv2d(512, 6, 1), nn.ReLU(), nn.Conv2d(6, 5, 1))
    neck = behind("mlp.", mlp.state_dict())
    neck |= behind("mlp2.", cells.state_dict()) if dense else {}
    state = trunk() | behind("neck.", neck)
    state |= behind("encoder_k.module.", trunk("0.") | behind("1.", filled(neck)))
    state |= {"encoder_k.steps": torch.tensor(5), "queue": torch.randn(5, 9)}
    state["queue_ptr"] = torch.tensor([4])
    if dense:
        state |= {"queue2": torch.randn(5, 9), "queue2_ptr": torch.tensor([2])}
    model = built(dict(state_dict=state))
    maps = torch.randn(2, 512, 3, 3)
    view = mlp(maps.mean(dim=(2, 3)))
    if dense:
        embeddings = model.neck([maps])
        torch.testing.assert_close(embeddings.view, view)
        torch.testing.assert_close(embeddings.cells, cells(maps).flatten(2))
        assert torch.equal(model.dense_queue.features, state["queue2"].T)
        assert int(model.dense_queue.pointer) == 2
    else:
        torch.testing.assert_close(model.neck(maps.mean(dim=(2, 3))), view)
    assert torch.equal(model.queue.features, state["queue"].T)
    assert int(model.queue.pointer) == 4 and int(model.twin.num_updates) == 5


def test_values_npid_bank() -> None:
    state = trunk() | filled(behind("neck.fc.", nn.Linear(512, 5).state_dict()))
    state["memory_bank.feature_bank"] = torch.randn(11, 5)
    text = "model = dict(type='NPID', neg_num=6, memory_bank=dict(momentum=0.25))"
    model = built(dict(state_dict=state, meta=dict(cfg=text)))
    assert torch.equal(model.bank.features, state["memory_bank.feature_bank"])
    assert model.num_negatives == 6 and model.bank.momentum == 0.75
    assert torch.equal(model.neck.layers[0].weight, state["neck.fc.weight"])


def their_vit(state: dict[str, Tensor], images: Tensor, heads: int, depth: int) -> Tensor:
    """Tokens of mmpretrain's VisionTransformer: class token first, norms before each branch."""

    def linear(name: str, x: Tensor) -> Tensor:
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(name: str, x: Tensor) -> Tensor:
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        return F.layer_norm(x, weight.shape, weight, bias, 1e-6)

    projection = "patch_embed.projection"
    patches = F.conv2d(
        images, state[f"{projection}.weight"], state[f"{projection}.bias"], stride=16
    )
    x = torch.cat([state["cls_token"], patches.flatten(2).transpose(1, 2)], dim=1)
    x = x + state["pos_embed"]
    for number in range(depth):
        layer = f"layers.{number}."
        qkv = linear(f"{layer}attn.qkv", norm(f"{layer}ln1", x)).reshape(1, -1, 3, heads, 4)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
        x = x + linear(f"{layer}attn.proj", mixed)
        hidden = F.gelu(linear(f"{layer}ffn.layers.0.0", norm(f"{layer}ln2", x)))
        x = x + linear(f"{layer}ffn.layers.1", hidden)
    return norm("ln1", x)


def tiny_vit_state() -> dict[str, Tensor]:
    dim, depth = 12, 2
    shapes = {key: tuple(shape) for key, shape in NETWORKS["vit_small"]}
    sizes = {384: dim, 1152: 3 * dim, 1536: 4 * dim, 197: 5}
    return {
        key: torch.randn(*(sizes.get(size, size) for size in shape)) * 0.3
        for key, shape in shapes.items()
        if not key.startswith("layers.") or int(key.split(".")[1]) < depth
    }


@torch.no_grad()
def test_values_vit_computes_theirs() -> None:
    """Through the conversion of a MoCo v3 file, and read as a backbone without conversion."""
    torch.manual_seed(0)
    theirs = tiny_vit_state()
    images = torch.randn(1, 3, 32, 32)
    tokens = their_vit(theirs, images, 3, 2)
    converted = from_mmselfsup(behind("backbone.", theirs))
    network = VisionTransformer(12, depth=2, num_heads=3, pretrain_img_size=32).eval()
    for as_it_is in (False, True):
        if as_it_is:
            report = load_backbone(network, dict(state_dict=behind("backbone.", theirs)))
            assert "mmpretrain" in report.layout
        else:
            network.load_state_dict(
                {key.removeprefix("backbone."): value for key, value in converted.items()}
            )
        view, regions = network.view_and_map(images)
        torch.testing.assert_close(view, tokens[:, 0])
        torch.testing.assert_close(regions.flatten(2).transpose(1, 2), tokens[:, 1:])
        for value in network.parameters():
            value.zero_()


CONFIG = """
model = dict(
    type='{type}',
    base_momentum={momentum},
    momentum={momentum},
    loss_lambda=0.3,
    neck=dict(type='N', num_grid=5),
    head=dict(temperature=0.15, loss=dict(temperature=0.12, epsilon=0.02, off_diag_weight=0.01)))
data_root = 'data/imagenet'
"""


def saying(kind: str, momentum: float) -> dict[str, Any]:
    return dict(meta=dict(cfg=CONFIG.format(type=kind, momentum=momentum)))


def test_values_their_config_in_our_terms() -> None:
    """mmpretrain's momentum is the weight of the new value, mmselfsup's that of the old one."""
    for momentum in (0.004, 0.996):
        cosine = dict(momentum=dict(type="Cosine", start=0.996, end=1.0))
        assert said_by_config(saying("BYOL", momentum), "byol") == cosine
        v3 = said_by_config(saying("MoCoV3", momentum), "moco_v3")
        assert v3 == cosine | dict(temperature=0.15)
        moco = said_by_config(saying("MoCo", momentum), "moco")
        assert moco == dict(momentum=0.996, temperature=0.15)
    dense = said_by_config(saying("DenseCL", 0.001), "densecl")
    assert dense == {
        "temperature": 0.15,
        "dense_weight": 0.3,
        "momentum": 0.999,
        "neck.num_grid": 5,
    }
    assert said_by_config(saying("SwAV", 1), "swav") == dict(temperature=0.12, epsilon=0.02)
    twins = said_by_config(saying("BarlowTwins", 1), "barlow_twins")
    assert twins == dict(off_diagonal_weight=0.01)
    assert said_by_config(saying("SimSiam", 1), "simsiam") == {}


@pytest.mark.parametrize("meta", [{}, dict(cfg="import os"), dict(cfg="x = 1"), None])
def test_values_no_plain_config_says_nothing(meta: Any) -> None:
    assert said_by_config(dict(meta=meta), "moco") == {}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    file = family_file("byol")
    file["meta"] |= saying("BYOL", 0.01)["meta"]
    torch.save(file, tmp_path / "byol.pth")
    return tmp_path / "byol.pth"


def test_state_a_whole_file(source: Path) -> None:
    target = source.with_name("ours.pth")
    lines = convert_file(source, target)
    assert "(BYOL from the layout of byol, epoch 2)" in lines[0]
    assert not any("guessed" in line for line in lines)  # the config tells the momentum
    model = load_algorithm(target)
    assert int(model.twin.num_updates) == 41
    assert model.twin.momentum.start == 0.99
    with pytest.raises(ValueError, match="checkpoint of mmssl already"):
        convert_file(target, source)


def test_values_the_config_tells_the_method_where_names_do_not(tmp_path: Path) -> None:
    """A BYOL without its momentum copy has the parts of SimSiam; without a config it is nobody's."""
    file = family_file("byol")
    state = {key: v for key, v in file["state_dict"].items() if not key.startswith("target_net.")}
    assert family_method(dict(state_dict=state)) is None
    file = dict(state_dict=state, meta=saying("mmpretrain.BYOL", 0.01)["meta"])
    assert family_method(file) == "byol"
    torch.save(file, tmp_path / "byol.pth")
    lines = convert_file(tmp_path / "byol.pth", tmp_path / "ours.pth")
    assert "the twin is its copy" in lines[-1]
    model = load_algorithm(tmp_path / "ours.pth")
    assert int(model.twin.num_updates) == 0
    assert torch.equal(model.twin.neck.layers[0].weight, state["neck.fc0.weight"])
    # a config of one of ours, or of a classifier, does not make its file theirs
    ours = dict(state_dict={"neck.layers.0.weight": 0}, meta=saying("BYOL", 1)["meta"])
    assert family_method(ours) is None
    rotation = dict(state_dict={"head.fc_cls.weight": 0, "neck.fc0.weight": 0})
    assert family_method(rotation) is None


def test_raises_one_way_and_foreign_methods(tmp_path: Path) -> None:
    torch.save(family_file("simclr"), tmp_path / "simclr.pth")
    convert_file(tmp_path / "simclr.pth", tmp_path / "ours.pth")
    for method, message in (
        ("simclr", "are read, not written"),
        ("auto", "no whole checkpoint of"),
    ):
        with pytest.raises(ValueError, match=message):
            convert_file(tmp_path / "ours.pth", tmp_path / "x.pth", method=method, to="official")
    with pytest.raises(ValueError, match="names in this one are others"):
        source_file("simclr", dict(state_dict={"encoder.conv1.weight": torch.zeros(1)}))
    assert (
        source_file("moco", dict(state_dict={"encoder_q.fc.weight": torch.zeros(1)}))
        is (METHOD_FILES["moco"])
    )
    with pytest.raises(ValueError, match="num_updates"):
        from_mmselfsup({}, num_updates=0)
