"""The networks of other libraries that an exported backbone is written for."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import timm
from mmengine.registry import MODELS as ROOT_MODELS
from torch import Tensor, nn
from torchvision import models as torchvision_models

from mmssl.convert.swin_targets import (
    mm_swin_config,
    mm_swin_target,
    timm_swin,
    timm_swin_features,
)
from mmssl.convert.timm_swin import swin_to_timm
from mmssl.models.backbones import CoTNet, ResNet, Swin, TimmBackbone
from mmssl.models.backbones.plugin_blocks import PluginBlock
from mmssl.registry import MODELS

Library = Literal["mmdet", "mmseg", "torchvision", "timm"]
LIBRARIES: tuple[Library, ...] = ("mmdet", "mmseg", "torchvision", "timm")


@dataclass(frozen=True)
class Target:
    """A network of another library, and how our names become its names.

    Attributes:
        network: The network, at random weights.
        features: Images (B, 3, H, W) -> the same maps as the pretrained backbone's, from the weights
            of `network`.
        build: How a user builds it: a config dict (mmdet, mmseg) or a call.
        prefix: What is written before each name in the file.
        convert: State dict of the pretrained backbone -> that of the network; default: the same.
        optional: Names of the network that an export has no weights for (a classifier).
        verified_with: The library whose network stood for the target's.
        note: How the network whose features are compared differs from `network`, if it does.
    """

    network: nn.Module
    features: Callable[[Tensor], tuple[Tensor, ...]]
    build: dict[str, Any] | str
    verified_with: str
    prefix: str = ""
    convert: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = dict
    optional: frozenset[str] = field(default_factory=frozenset)
    note: str = ""

    def file_weights(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What is written of our backbone's state dict, by the names in the file."""
        return {self.prefix + name: tensor for name, tensor in self.convert(state).items()}


def _is_plain(backbone: nn.Module, library: str) -> bool:
    """Whether the ResNet of mmdet or mmseg itself is this network."""
    return (
        type(backbone) is ResNet
        and backbone.width == 1
        and backbone.base_channels == 64
        and backbone.stem == "imagenet"
        and backbone.padding == "symmetric"
        and isinstance(backbone.bn1, nn.modules.batchnorm._BatchNorm)
        # theirs has plugins in bottlenecks only
        and not (backbone.plugins and backbone.depth < 50)
        and not (library == "mmseg" and _has_chains(backbone))
    )


def _has_chains(backbone: ResNet) -> bool:
    """Whether one plugin reads what another returns: mmseg's ResNet gives both the same map."""
    return any(len(names) > 1 for block in backbone.modules() for names in _plugin_names(block))


def _plugin_names(block: nn.Module) -> list[list[str]]:
    return list(block.plugin_names.values()) if isinstance(block, PluginBlock) else []


def _mm_plugins(backbone: ResNet, num_stages: int) -> dict[str, Any]:
    """The argument `plugins` for mmdet's and mmseg's ResNet, if there are any."""
    plugins = []
    for plugin in backbone.plugins or ():
        # the same block; only where weights start is another matter
        kind = {"GCBlock": "ContextBlock"}.get(plugin["cfg"]["type"], plugin["cfg"]["type"])
        stages = tuple(plugin.get("stages", (True,) * num_stages))[:num_stages]
        plugins.append({**plugin, "cfg": {**plugin["cfg"], "type": kind}, "stages": stages})
    return dict(plugins=plugins) if plugins else {}


def mm_config(backbone: nn.Module, config: dict[str, Any], library: str) -> dict[str, Any]:
    """The `model.backbone` of mmdet or mmseg for a pretrained backbone.

    What their own classes cannot express (wide or small-image ResNets, timm models, plugins) is
    reached there as `mmssl.<class>`.

    Args:
        backbone: The pretrained backbone.
        config: The config that it was built from.
        library: `mmdet` or `mmseg`.
    """
    if _is_plain(backbone, library):
        assert isinstance(backbone, ResNet)
        num_stages = backbone.out_indices[-1] + 1
        return dict(
            type=f"{library}.ResNet",
            depth=backbone.depth,
            num_stages=num_stages,
            strides=(1, 2, 2, 2)[:num_stages],
            dilations=(1, 1, 1, 1)[:num_stages],
            out_indices=backbone.out_indices,
            style="pytorch",
            frozen_stages=-1,
            norm_cfg=dict(type="BN", requires_grad=True),
            norm_eval=False,
            **_mm_plugins(backbone, num_stages),
        )
    if type(backbone) is Swin and (build := mm_swin_config(backbone, library)):
        return build
    kind = config["type"]
    return {**config, "type": kind if "." in kind else f"mmssl.{kind}"}


def _torchvision_name(backbone: nn.Module, library: str) -> str:
    """The name under which torchvision and timm know a ResNet of ours."""
    if isinstance(backbone, ResNet) and isinstance(backbone.bn1, nn.modules.batchnorm._BatchNorm):
        name = {1: "resnet{}", 2: "wide_resnet{}_2"}.get(backbone.width, "").format(backbone.depth)
        plain = backbone.stem == "imagenet" and not backbone.plugins
        plain &= backbone.base_channels == 64 and backbone.padding == "symmetric"
        if plain and hasattr(torchvision_models, name):
            if backbone.out_indices[-1] == 3:
                return name
            raise ValueError(
                f"{library} has {name} with four stages only; this backbone was pretrained with "
                f"{backbone.out_indices[-1] + 1}. Export it to mmdet or mmseg (num_stages=...)."
            )
    what = f"{type(backbone).__name__}"
    if isinstance(backbone, ResNet):
        what = (
            f"ResNet(depth={backbone.depth}, width={backbone.width}, stem={backbone.stem!r}, "
            f"norm_cfg={backbone.norm_cfg}, plugins={backbone.plugins}, padding={backbone.padding!r})"
        )
    has_timm = isinstance(backbone, (CoTNet, TimmBackbone, Swin))
    others = "timm, mmdet or mmseg" if has_timm else "mmdet or mmseg"
    raise ValueError(f"{library} has no network equal to {what}. Export it to {others}.")


def _torchvision_features(network: nn.Module, stages: Any) -> Callable:
    def features(images: Tensor) -> tuple[Tensor, ...]:
        x = network.maxpool(network.relu(network.bn1(network.conv1(images))))
        maps = []
        for stage in range(stages[-1] + 1):
            x = getattr(network, f"layer{stage + 1}")(x)
            maps.append(x)
        return tuple(maps[stage] for stage in stages)

    return features


def _timm_features(network: nn.Module, indices: list[int]) -> Callable:
    def features(images: Tensor) -> tuple[Tensor, ...]:
        return tuple(
            network.forward_intermediates(
                images, indices=indices, output_fmt="NCHW", intermediates_only=True
            )
        )

    return features


def _without_prefix(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items()}


def _mm_target(library: str, backbone: nn.Module, config: dict[str, Any]) -> Target:
    build = mm_config(backbone, config, library)
    scope = build["type"].split(".")[0]
    verified_with = scope
    installed = scope not in ("mmdet", "mmseg") or importlib.util.find_spec(scope)
    if installed and type(backbone) is Swin and build["type"].endswith(".SwinTransformer"):
        network, features, convert, note = mm_swin_target(backbone, build)
        return Target(network, features, build, verified_with, "backbone.", convert, note=note)
    if installed:
        network = ROOT_MODELS.build({**build})
        features = network.forward
    elif isinstance(backbone, ResNet) and not backbone.plugins:
        warnings.warn(
            f"{scope} is not installed, so its ResNet cannot be run. torchvision's, which has the same "
            "names and shapes, stands in for the check. `pip install '.[downstream]'` gives the "
            "real one.",
            stacklevel=3,
        )
        verified_with = "torchvision"
        network = getattr(torchvision_models, f"resnet{backbone.depth}")()
        del network.fc
        for stage in range(backbone.out_indices[-1] + 1, 4):
            delattr(network, f"layer{stage + 1}")
        features = _torchvision_features(network, backbone.out_indices)
    else:
        raise ModuleNotFoundError(
            f"The backbone is {build['type']}, but {scope} is not installed. Install it with "
            "pip install '.[downstream]' in the checkout."
        )
    return Target(network, features, build, verified_with, prefix="backbone.")


def _own_target(config: dict[str, Any]) -> Target:
    """A network that timm does not have, for whoever takes features as timm gives them: our class itself."""
    network = MODELS.build({**config})
    options = {key: value for key, value in config.items() if key != "type"}
    words = ", ".join(f"{key}={value!r}" for key, value in options.items())
    call = f"mmssl.models.backbones.{type(network).__name__}({words})"
    return Target(network, network.forward, call, "mmssl")


def build_target(library: Library, backbone: nn.Module, config: dict[str, Any]) -> Target:
    """The network of `library` that equals `backbone`.

    Args:
        library: `mmdet`, `mmseg`, `torchvision` or `timm`.
        backbone: The pretrained backbone.
        config: The config that it was built from.

    Raises:
        ValueError: The library has no such network; says which one has.
        ModuleNotFoundError: A borrowed backbone's library is not installed.
    """
    if library in ("mmdet", "mmseg"):
        return _mm_target(library, backbone, config)
    if library == "torchvision":
        name = _torchvision_name(backbone, library)
        network = getattr(torchvision_models, name)()
        return Target(
            network,
            _torchvision_features(network, backbone.out_indices),
            f"torchvision.models.{name}()",
            library,
            optional=frozenset({"fc.weight", "fc.bias"}),
        )
    if library != "timm":
        raise ValueError(f"to must be one of {', '.join(LIBRARIES)}, got {library!r}.")
    if isinstance(backbone, Swin):
        network, call = timm_swin(backbone)
        convert = partial(swin_to_timm, last_stage=len(backbone.stages) - 1)
        features = timm_swin_features(network, backbone)
        return Target(network, features, call, library, convert=convert)
    if isinstance(backbone, CoTNet):
        return _own_target(config)
    if isinstance(backbone, TimmBackbone):
        network = timm.create_model(backbone.name, num_classes=0, **backbone.model_args)
        if backbone.out_indices[-1] != len(network.feature_info) - 1:
            raise ValueError(
                f"{backbone.name} of timm has {len(network.feature_info)} maps; this backbone was "
                f"pretrained up to number {backbone.out_indices[-1]} (from 0), so the rest of the "
                "network has no weights. Export it to mmdet or mmseg."
            )
        arguments = "".join(f", {key}={value!r}" for key, value in backbone.model_args.items())
        return Target(
            network,
            _timm_features(network, list(backbone.out_indices)),
            f"timm.create_model({backbone.name!r}, num_classes=0{arguments})",
            library,
            convert=partial(_without_prefix, prefix=backbone.source_prefix),
            optional=frozenset(backbone.cut_names),
        )
    name = _torchvision_name(backbone, library)
    network = timm.create_model(name, num_classes=0)
    return Target(
        network,
        _timm_features(network, [stage + 1 for stage in backbone.out_indices]),
        f"timm.create_model({name!r}, num_classes=0)",
        library,
    )
