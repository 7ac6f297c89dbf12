"""BYOL's released pickle: complete on its names, read without running code, and what its network computes."""

from __future__ import annotations

import os
import pickle
import sys
import types
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmssl.convert.array_pickle import load_array_pickle
from mmssl.convert.checkpoint_file import load_weights_file
from mmssl.convert.convert_file import convert_file
from mmssl.convert.export import export_backbone
from mmssl.convert.key_map import check_complete
from mmssl.convert.load_algorithm import load_algorithm
from mmssl.convert.load_backbone import load_backbone
from mmssl.convert.official import byol
from mmssl.convert.official.method_files import METHOD_FILES
from mmssl.convert.official.method_recognition import method_of_file, method_of_state
from mmssl.models.backbones import ResNet
from mmssl.models.layers.same_padding import SamePaddedConv2d, SamePaddedMaxPool2d, same_padding
from mmssl.registry import MODELS
from tests.helpers.goldens import official_keys

LISTED = official_keys("baselines")["byol_resnet50_haiku"]
Tree = dict[str, dict[str, Any]]


def tree_of(part: str, make: Any, *, target: bool = False) -> Tree:
    """The released tree of parameters (`keys`) or averages (`state_keys`)."""
    tree: Tree = {}
    for name, shape in LISTED[part]:
        module, leaf = name.split("|")
        if not (target and module.startswith(("predictor", "classifier"))):
            tree.setdefault(module, {})[leaf] = make(leaf, tuple(shape))
    return tree


def listed() -> dict[str, Any]:
    def empty(leaf: str, shape: tuple[int, ...]) -> Tensor:
        return torch.empty(shape, device="meta", dtype=torch.float32 if shape else torch.int64)

    branches = ("online", "target")
    params = {f"{branch}_params": tree_of("keys", empty) for branch in branches}
    averages = {f"{branch}_state": tree_of("state_keys", empty) for branch in branches}
    return dict(step=312000, rng=torch.zeros(2), experiment_state=params | averages)


def test_values_every_name_of_theirs_is_a_parameter_of_ours() -> None:
    file = listed()
    assert method_of_file(file) == "byol"
    layout = METHOD_FILES["byol"]
    ours = layout.from_file(file, 1)
    config = layout.model_config(ours)
    assert config["backbone"]["depth"] == 50 and config["backbone"]["padding"] == "same"
    with torch.device("meta"):
        model = MODELS.build(config)
    check_complete(ours, model.state_dict())
    assert int(ours["twin.num_updates"]) == 312000
    back = byol.to_official(ours)
    for part, names in (("params", "keys"), ("state", "state_keys")):
        for branch in ("online", "target"):
            wanted = {n: tuple(s) for n, s in LISTED[names]}
            lost = ("classifier", "predictor") if branch == "target" else ("classifier",)
            wanted = {n: s for n, s in wanted.items() if not n.startswith(lost)}
            written = {
                f"{module}|{leaf}": tuple(value.shape)
                for module, leaves in back[f"{branch}_{part}"].items()
                for leaf, value in leaves.items()
            }
            assert written == wanted


def test_raises_for_what_is_no_part_of_it() -> None:
    file = listed()
    file["experiment_state"]["online_params"]["projector/linear_2"] = dict(w=torch.zeros(2, 2))
    with pytest.raises(KeyError, match="belong to no known part"):
        byol.from_official(file)
    del file["experiment_state"]["target_state"]
    del file["experiment_state"]["online_params"]["projector/linear_2"]
    with pytest.raises(ValueError, match="holds target_state"):
        byol.from_official(file)
    with pytest.raises(ValueError, match="num_updates"):
        byol.from_official(file, num_updates=0)
    small = ResNet(18, out_indices=(3,)).state_dict()
    with pytest.raises(ValueError, match="ResNet of bottlenecks"):
        byol.to_official({f"backbone.{key}": value for key, value in small.items()})


class frozendict(Mapping):  # noqa: N801  # Haiku's name
    """As Haiku's: a mapping that is pickled as its class and a dictionary."""

    def __init__(self, items: dict[str, Any]) -> None:
        self.items_by_name = items

    def __getitem__(self, name: str) -> Any:
        return self.items_by_name[name]

    def __iter__(self) -> Any:
        return iter(self.items_by_name)

    def __len__(self) -> int:
        return len(self.items_by_name)

    def __reduce__(self) -> Any:
        return type(self), (self.items_by_name,)


class _ByolExperimentState(NamedTuple):
    online_params: Any
    target_params: Any
    online_state: Any
    target_state: Any
    opt_state: Any


def small_tree(part: str, generator: np.random.Generator, *, target: bool = False) -> frozendict:
    """The released names at an eighth of the channels."""

    def draw(leaf: str, shape: tuple[int, ...]) -> np.ndarray:
        if not shape:
            return np.array(9, dtype=np.int32)
        # kernels keep their sides, images their colours
        sides = shape[:2] if len(shape) == 4 else ()
        channels = [size if size in (1, 3) else max(size // 8, 1) for size in shape[len(sides) :]]
        values = generator.uniform(0.2, 0.4, (*sides, *channels))  # variances are positive
        signs = generator.choice([-1, 1], values.shape) if leaf == "w" else 1
        return (values * signs).astype(np.float32)

    tree = tree_of(part, draw, target=target)
    return frozendict({module: frozendict(leaves) for module, leaves in tree.items()})


@pytest.fixture
def released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, dict[str, Any]]:
    """A pickle of protocol 2 as their program writes it, whose classes are gone when it is read."""
    generator = np.random.default_rng(0)
    parts = [small_tree("keys", generator), small_tree("keys", generator)]
    parts += [small_tree("state_keys", generator), small_tree("state_keys", generator)]
    packages = ("haiku", "haiku._src", "haiku._src.data_structures", "byol", "byol.byol_experiment")
    for name in packages:
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    for name, member in ((packages[2], frozendict), (packages[4], _ByolExperimentState)):
        setattr(sys.modules[name], member.__name__, member)
        monkeypatch.setattr(member, "__module__", name)
    state = _ByolExperimentState(*parts, opt_state=frozendict({}))
    file = dict(experiment_state=state, step=np.int64(77), rng=np.zeros(2, dtype=np.uint32))
    path = tmp_path / "pretrain.pkl"
    path.write_bytes(pickle.dumps(file, protocol=2))
    for name in packages:
        monkeypatch.delitem(sys.modules, name)
    return path, dict(zip(_ByolExperimentState._fields, parts, strict=False))


def same_conv(x: Tensor, kernel: np.ndarray, stride: int) -> Tensor:
    """A convolution with SAME padding, written out for square maps; the kernel is (h, w, in, out)."""
    window = kernel.shape[0]
    total = max((-(-x.shape[-1] // stride) - 1) * stride + window - x.shape[-1], 0)
    before, after = total // 2, total - total // 2
    weight = torch.from_numpy(kernel).permute(3, 2, 0, 1)
    return F.conv2d(F.pad(x, (before, after, before, after)), weight, stride=stride)


def their_resnet(params: Mapping[str, Any], averages: Mapping[str, Any], x: Tensor) -> Tensor:
    """Haiku's ResNet v1.5 in evaluation."""
    root = "res_net50/~/"

    def norm(name: str, maps: Tensor) -> Tensor:
        mean, var = (averages[f"{root}{name}/~/{k}_ema"]["average"] for k in ("mean", "var"))
        scale, offset = params[root + name]["scale"], params[root + name]["offset"]
        rows = [torch.from_numpy(a).reshape(1, -1, 1, 1) for a in (mean, var, scale, offset)]
        return (maps - rows[0]) / torch.sqrt(rows[1] + 1e-5) * rows[2] + rows[3]

    def conv(name: str, maps: Tensor, stride: int) -> Tensor:
        return same_conv(maps, params[root + name]["w"], stride)

    x = norm("initial_batchnorm", conv("initial_conv", x, 2)).relu()
    assert x.shape[-1] % 2 == 0  # the pool adds one row and one column, behind
    x = F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=-torch.inf), 3, 2)
    for group, blocks in enumerate((3, 4, 6, 3)):
        for block in range(blocks):
            at = f"block_group_{group}/~/block_{block}/~/"
            stride = 2 if group and not block else 1
            y = norm(f"{at}batchnorm_0", conv(f"{at}conv_0", x, 1)).relu()
            y = norm(f"{at}batchnorm_1", conv(f"{at}conv_1", y, stride)).relu()
            y = norm(f"{at}batchnorm_2", conv(f"{at}conv_2", y, 1))
            if not block:
                x = norm(f"{at}shortcut_batchnorm", conv(f"{at}shortcut_conv", x, stride))
            x = (x + y).relu()
    return x


def their_mlp(
    name: str, params: Mapping[str, Any], averages: Mapping[str, Any], x: Tensor
) -> Tensor:
    first, second, norm = (
        params[f"{name}/{layer}"] for layer in ("linear", "linear_1", "batch_norm")
    )
    mean, var = (
        torch.from_numpy(averages[f"{name}/batch_norm/~/{k}_ema"]["average"])
        for k in ("mean", "var")
    )
    x = x @ torch.from_numpy(first["w"]) + torch.from_numpy(first["b"])
    x = (x - mean) / torch.sqrt(var + 1e-5) * torch.from_numpy(norm["scale"])
    return (x + torch.from_numpy(norm["offset"])).relu() @ torch.from_numpy(second["w"])


@torch.no_grad()
def test_values_the_converted_model_computes_theirs(
    released: tuple[Path, dict[str, Any]],
) -> None:
    path, trees = released
    lines = convert_file(path, path.with_name("ours.pth"))
    assert any("guessed: momentum=" in line for line in lines)
    model = load_algorithm(path.with_name("ours.pth")).double().eval()
    assert int(model.twin.num_updates) == 77
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    for branch, network in (("online", model), ("target", model.twin)):
        params = doubled(trees[f"{branch}_params"])
        averages = doubled(trees[f"{branch}_state"])
        maps = their_resnet(params, averages, images)
        torch.testing.assert_close(network.backbone(images)[-1], maps)
        features = maps.mean(dim=(2, 3))
        z = their_mlp("projector", params, averages, features)
        torch.testing.assert_close(network.neck(features), z)
        if branch == "online":
            torch.testing.assert_close(model.head(z), their_mlp("predictor", params, averages, z))
    # and not with the padding of torch
    usual = ResNet(50, out_indices=(3,), base_channels=8).double().eval()
    usual.load_state_dict(model.backbone.state_dict())
    maps = model.backbone(images)[-1]
    assert (usual(images)[-1] - maps).norm() > 0.01 * maps.norm()


def doubled(tree: Mapping[str, Any]) -> Tree:
    return {
        module: {leaf: np.asarray(value, dtype=np.float64) for leaf, value in leaves.items()}
        for module, leaves in tree.items()
    }


def test_state_there_and_back(released: tuple[Path, dict[str, Any]]) -> None:
    path, trees = released
    ours, theirs = path.with_name("ours.pth"), path.with_name("theirs.pth")
    convert_file(path, ours)
    lines = convert_file(ours, theirs, to="official")
    assert "layout of byol" in lines[0] and "without classifier" in lines[-1]
    state = torch.load(ours, weights_only=True)["state_dict"]
    assert method_of_state(state, None) == "byol"
    written = torch.load(theirs, weights_only=True)
    for name in ("online_params", "online_state", "target_state"):
        for module, leaves in trees[name].items():
            if module.startswith("classifier") or (
                name.startswith("target") and module.startswith("predictor")
            ):
                continue
            for leaf, value in leaves.items():
                if leaf != "hidden":
                    assert np.array_equal(written[name][module][leaf].numpy(), value), leaf
    average = written["online_state"]["projector/batch_norm/~/mean_ema"]
    torch.testing.assert_close(average["hidden"], average["average"] * (1 - 0.9**9))
    convert_file(theirs, path.with_name("again.pth"))
    again = torch.load(path.with_name("again.pth"), weights_only=True)["state_dict"]
    assert all(torch.equal(again[k], v) for k, v in state.items() if k != "twin.num_updates")


class Runs:
    """Runs a command where a pickle is read that trusts its file."""

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)

    def __init__(self, folder: Path) -> None:
        self.folder = folder


def test_raises_for_pickles_that_would_run_code(tmp_path: Path) -> None:
    path = tmp_path / "weights.pkl"
    for evil in (Runs(tmp_path / "ran"), dict(experiment_state=[Runs(tmp_path / "ran")])):
        path.write_bytes(pickle.dumps(evil))
        with pytest.raises(PermissionError, match=r"wants to call (posix|nt)\.mkdir"):
            load_weights_file(path)
    path.write_bytes(pickle.dumps(dict(x=eval)))
    with pytest.raises(PermissionError, match="builtins.eval"):
        load_weights_file(path)
    assert not (tmp_path / "ran").exists()
    path.write_bytes(pickle.dumps(dict(x=np.zeros(3)))[:-20])
    with pytest.raises(ValueError, match="cannot be read as a pickle of arrays"):
        load_array_pickle(path)
    path.write_bytes(pickle.dumps([1]))
    with pytest.raises(ValueError, match="holds a list"):
        load_array_pickle(path)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_values_arrays_of_a_pickle(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "arrays.pkl"
    content = dict(
        a=np.arange(6.0, dtype=np.float32).reshape(2, 3).T,
        b=[(np.float64(2.5), np.array(7))],
        c=b"raw",
        d=np.array(["text"]),
    )
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    read = load_weights_file(path)
    assert torch.equal(read["a"], torch.arange(6.0).reshape(2, 3).T)
    assert read["b"][0][0] == 2.5 and int(read["b"][0][1]) == 7
    assert read["c"] == b"raw" and read["d"].tolist() == ["text"]


def test_values_files_of_torch_named_pkl_are_torch_files(tmp_path: Path) -> None:
    for zipped in (True, False):
        torch.save(
            dict(state_dict=dict(w=torch.ones(2))),
            tmp_path / "net.pkl",
            _use_new_zipfile_serialization=zipped,
        )
        assert torch.equal(
            load_weights_file(tmp_path / "net.pkl")["state_dict"]["w"], torch.ones(2)
        )


@pytest.mark.parametrize("size", [8, 9, 224])
def test_values_same_padding_by_hand(size: int) -> None:
    """ceil(size / 2) places; on even sizes (0, 1) for 3x3 and (2, 3) for 7x7, on odd ones torch's."""
    small, large = (same_padding(size, window=window, stride=2) for window in (3, 7))
    assert (small, large) == (((0, 1), (2, 3)) if size % 2 == 0 else ((1, 1), (3, 3)))
    maps = torch.randn(2, 4, size, size + 1)
    conv = SamePaddedConv2d(4, 5, 3, stride=2, bias=False)
    rows, columns = small, same_padding(size + 1, window=3, stride=2)
    out = conv(maps)
    assert out.shape[-2:] == (-(-size // 2), -(-(size + 1) // 2))
    padded = F.pad(maps, (*columns, *rows))
    torch.testing.assert_close(out, F.conv2d(padded, conv.weight, stride=2))
    least = SamePaddedMaxPool2d(3, stride=2)(maps - 100)
    assert least.max() < 0  # what is added is never the maximum


def test_state_resnet_with_same_padding() -> None:
    """Names, shapes and sizes of maps as ever; stages of stride 1 compute the same."""
    torch.manual_seed(0)
    usual = ResNet(50, out_indices=(0, 1, 2, 3), base_channels=8).eval()
    same = ResNet(50, out_indices=(0, 1, 2, 3), base_channels=8, padding="same").eval()
    same.load_state_dict(usual.state_dict())
    images = torch.randn(1, 3, 64, 96)
    for a, b in zip(usual(images), same(images), strict=True):
        assert a.shape == b.shape and not torch.allclose(a, b)
    strided = [m for m in same.modules() if isinstance(m, nn.Conv2d) and m.stride[0] == 2]
    assert [type(m) is SamePaddedConv2d for m in strided] == [m.kernel_size[0] > 1 for m in strided]
    # on odd sizes all the way there is no difference
    odd = torch.randn(1, 3, 65, 97)
    for a, b in zip(usual(odd), same(odd), strict=True):
        torch.testing.assert_close(a, b)
    assert same.train()(images)[-1].requires_grad


def test_raises_padding_with_what_it_excludes() -> None:
    with pytest.raises(ValueError, match="'symmetric' or 'same'"):
        ResNet(50, padding="valid")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="neither output_stride"):
        ResNet(50, padding="same", output_stride=8)
    cifar = ResNet(18, stem="cifar", padding="same")
    assert isinstance(cifar.maxpool, nn.Identity)


def test_values_a_network_of_the_other_padding_is_warned_of(
    released: tuple[Path, dict[str, Any]],
) -> None:
    path = released[0]
    convert_file(path, path.with_name("ours.pth"))
    options = dict(depth=50, out_indices=(3,), base_channels=8)
    with pytest.warns(UserWarning, match="trained with padding='same'"):
        load_backbone(ResNet(**options), path.with_name("ours.pth"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_backbone(ResNet(**options, padding="same"), path.with_name("ours.pth"))
    usual = dict(
        state_dict=ResNet(**options).state_dict(),
        meta=dict(cfg="model = dict(type='BYOL', backbone=dict(type='ResNet', depth=50))"),
    )
    with pytest.warns(UserWarning, match="pads 'same'"):
        load_backbone(ResNet(**options, padding="same"), usual)


def test_raises_export_to_libraries_without_such_padding(
    released: tuple[Path, dict[str, Any]],
) -> None:
    path = released[0]
    convert_file(path, path.with_name("ours.pth"))
    with pytest.raises(ValueError, match=r"no network equal to ResNet\(.*padding='same'"):
        export_backbone(path.with_name("ours.pth"), path.with_name("out.pth"), to="torchvision")
