"""The names under which files of different origin hold the weights of one network.

A ResNet is called the same by everybody; a Swin is not. Ours has the names of mmdet and mmseg,
Microsoft's code (Swin, EsViT, MoBY) has others, timm has others again, and the channels of the
mergings are ordered differently. A CoTNet has other names in its authors' repository for detection, a ViT in
mmpretrain.
`load_backbone` takes the layout that a file fits best.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from mmssl.convert.key_map import rename_keys
from mmssl.convert.official.cotnet import SIGN, cotnet_from_official, detectron_rules
from mmssl.convert.official.swin import swin_from_official, swin_rules
from mmssl.convert.official.vit import vit_to_mmpretrain
from mmssl.convert.timm_swin import swin_from_timm, timm_name

# Follow from the window, so that no file needs them and none of another window may overwrite them.
DERIVED = re.compile(r"(.*\.)?(relative_position_index|attn_mask)")
_SWIN = re.compile(r"stages\.([0-9]+)\.blocks\.[0-9]+\.attn\.w_msa\.relative_position_bias_table")


@dataclass(frozen=True)
class NameLayout:
    """One naming of a network's tensors.

    Attributes:
        origin: Whose naming it is; empty for the network's own.
        names: Name in such a file -> name in the network's state dict.
        convert: Tensors of such a file, by its names (some or all of `names`) -> by the network's.
    """

    origin: str
    names: Mapping[str, str]
    convert: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


def _own_layout(module: nn.Module) -> NameLayout:
    """As other libraries write it, without the child that wraps a network (`TimmBackbone`)."""
    prefix = getattr(module, "source_prefix", "")
    names = {
        name.removeprefix(prefix): name
        for name in module.state_dict()
        if not DERIVED.fullmatch(name)
    }
    return NameLayout("", names, lambda weights: {names[n]: w for n, w in weights.items()})


def _last_swin_stage(names: Mapping[str, str]) -> int | None:
    """The number of the last stage if these are the names of mmdet's Swin, else `None`."""
    stages = [int(found[1]) for found in map(_SWIN.fullmatch, names) if found]
    return max(stages) if stages else None


def fresh_names(module: nn.Module) -> frozenset[str]:
    """Names of a network that pretraining has no weights for: norms of a Swin's earlier maps.

    Detectors read all four maps, each behind a norm of its own; pretrained is only the last norm.
    """
    names = module.state_dict()
    last = _last_swin_stage(names)
    earlier = tuple(f"norm{stage}." for stage in range(last or 0))
    return frozenset(name for name in names if name.startswith(earlier))


def _detectron_layout(names: Mapping[str, str]) -> list[NameLayout]:
    """That of CoTNet's repository for detection; none for a network with mixers that it does not know."""
    try:
        theirs = rename_keys(names, detectron_rules(names), backward=True)
    except KeyError:
        return []
    return [NameLayout("CoTNet's detectron2", theirs, cotnet_from_official)]


def _mmpretrain_layout(names: Mapping[str, str]) -> list[NameLayout]:
    """That of mmpretrain for a ViT; none for one with parts that it does not know."""
    try:
        theirs = vit_to_mmpretrain(names)
    except KeyError:
        return []
    return [
        NameLayout("mmpretrain", theirs, lambda weights: {theirs[n]: w for n, w in weights.items()})
    ]


def name_layouts(module: nn.Module) -> list[NameLayout]:
    """The layouts in which a file may hold the weights of `module`; its own comes first."""
    own = _own_layout(module)
    if any(re.fullmatch(SIGN, name) for name in own.names):
        return [own, *_detectron_layout(own.names)]
    if "blocks.0.norm1.weight" in own.names:
        return [own, *_mmpretrain_layout(own.names)]
    last = _last_swin_stage(own.names)
    if last is None:
        return [own]
    fresh = fresh_names(module)
    plain = {name: name for name in own.names if name not in fresh}
    try:
        official = rename_keys(plain, swin_rules(last_stage=last), backward=True)
    except KeyError:  # a variant with parts that the others have no names for
        return [own]
    timm = {timm_name(theirs): name for theirs, name in official.items()}
    return [
        own,
        NameLayout("Microsoft", official, lambda w: swin_from_official(w, last_stage=last)),
        NameLayout("timm", timm, lambda w: swin_from_timm(w, last_stage=last)),
    ]
