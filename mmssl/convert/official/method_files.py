"""Files of whole models as each method's authors write them: their parts, and whose a file is."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, nn

from mmssl.convert.key_map import behind
from mmssl.convert.official import (
    barlow_twins,
    byol,
    care,
    cotnet_classifier,
    deepcluster_v2,
    densecl,
    dino,
    infomin,
    moby,
    moco,
    moco_v3,
    npid,
    pic,
    pixpro,
    simsiam,
    swav,
)
from mmssl.convert.official.backbone_configs import backbone_guesses
from mmssl.convert.official.backbones import backbone_kind
from mmssl.convert.official.cotnet import DETECTRON_SIGN, SIGN

State = dict[str, Tensor]
_NETWORKS = ("student", "teacher")


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """How files of a method are read.

    Attributes:
        from_file: Their file and the number of momentum updates -> our state dict.
        model_config: Our state dict -> config of the model.
        guessed: Our state dict -> dotted names in that config that the weights do not tell.
        parts: What every whole model has: how our names of it begin.
        fits: Whether a state dict of ours that has all `parts` is of this method after all.
        epoch: Their name of the finished epochs; `meta.epoch` where their runner is of the mm family.
        said: Their file and that config -> values by dotted name that the file tells all the same.
        lacking: Parts of our model that their files have no place for, as `parts`. Towards ours they are as
            before training, towards theirs they are left out.
        optional: More of the kind, which not every model has.
        doubt: What the names leave open when they are all that tells the method.
    """

    from_file: Callable[[Mapping[str, Any], int], State]
    model_config: Callable[[State], dict[str, Any]]
    guessed: Callable[[State], list[str]]
    parts: tuple[str, ...]
    epoch: str
    fits: Callable[[Mapping[str, Tensor]], bool] = lambda state: True
    said: Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]] = lambda file, config: {}
    lacking: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    doubt: str = ""

    @property
    def ours_alone(self) -> tuple[str, ...]:
        """How names begin that no file of theirs has."""
        return self.lacking + self.optional


@dataclass(frozen=True, kw_only=True)
class MethodFile(SourceFile):
    """How a method's authors write their files.

    Attributes:
        to_file: Our state dict, and the model of it where its config is known -> entries of their file.
        simplified: Our state dict and its model config (or none) -> those of the form of the model that their
            files can hold, the same in numbers.
        note: A sentence on what is written towards theirs.
    """

    to_file: Callable[..., dict[str, Any]]
    simplified: Callable[..., tuple[State, Any]] = lambda state, config: (state, config)
    note: str = ""


def tensors_of(file: Mapping[str, Any], *names: str) -> State:
    """The state dict of a checkpoint: under the first of `names` that it has, or plain.

    Args:
        file: The content of a weights file.
        names: Keys under which it may stand.
    """
    for name in names:
        if isinstance(file.get(name), Mapping):
            return dict(file[name])
    return {name: value for name, value in file.items() if isinstance(value, Tensor)}


def _networks(file: Mapping[str, Any]) -> Mapping[str, Any]:
    """A file of DINO or EsViT; one network's state dict, under any usual key, becomes its student."""
    if any(isinstance(file.get(name), Mapping) for name in _NETWORKS):
        return file
    return {"student": tensors_of(file, "state_dict", "model"), "args": file.get("args")}


def _dino(by_esvit: bool) -> MethodFile:
    return MethodFile(
        from_file=lambda file, updates: dino.from_official(_networks(file), num_updates=updates),
        to_file=lambda state, model=None: dino.to_official(state, by_esvit=by_esvit),
        model_config=dino.model_config,
        guessed=dino.guessed_options,
        parts=("backbone.", "head.last_layer."),
        epoch="epoch",
        said=lambda file, config: dino.said_by_file(_networks(file), config),
    )


def _densecl_from_file(file: Mapping[str, Any], updates: int) -> State:
    made = int((file.get("meta") or {}).get("iter") or updates)
    return densecl.from_official(tensors_of(file, "state_dict", "model"), num_updates=made)


def _care_to_file(state: State, model: nn.Module | None = None) -> dict[str, Any]:
    return dict(model=behind("module.", care.to_official(state)))


def _contrast(method: moco.Method, lacking: tuple[str, ...] = ()) -> MethodFile:
    """Files of MoCo and of what is built on it."""

    def from_file(file: Mapping[str, Any], updates: int) -> State:
        ours = moco.from_official(tensors_of(file, "state_dict", "model"), num_updates=updates)
        if method != "hcsc" and "queue.index" in ours:
            raise ValueError(
                f"The file keeps the images of its keys (queue_index), so it is none of {method} but of "
                "hcsc; --method hcsc or auto converts it."
            )
        return ours

    def to_file(state: State, model: nn.Module | None = None) -> dict[str, Any]:
        arch = moco.architecture(state)
        return dict(arch=arch, state_dict=behind("module.", moco.to_official(state)))

    return MethodFile(
        from_file=from_file,
        to_file=to_file,
        model_config=partial(moco.model_config, method=method),
        guessed=partial(moco.guessed_options, method=method),
        parts=("backbone.", "neck.", "queue.", *(("queue.index",) if method == "hcsc" else ())),
        epoch="epoch",
        lacking=lacking,
        doubt=""
        if method == "hcsc"
        else "files of MoCo and PCL differ in the length of the queue only, as published 65536 and 16384",
    )


def _npid_to_file(state: State, model: nn.Module | None = None) -> dict[str, Any]:
    params = None if model is None else npid.params_of(model, state["normalizer"])
    return dict(arch=moco.architecture(state), **npid.to_official(state, params=params))


METHOD_FILES = {
    "barlow_twins": MethodFile(
        from_file=lambda file, updates: barlow_twins.from_official(
            tensors_of(file, "model", "state_dict")
        ),
        to_file=lambda state, model=None: dict(
            model=behind("module.", barlow_twins.to_official(state))
        ),
        model_config=barlow_twins.model_config,
        guessed=barlow_twins.guessed_options,
        parts=("backbone.", "neck.layers.", "norm.running_mean"),
        epoch="epoch",
    ),
    "byol": MethodFile(
        from_file=lambda file, updates: byol.from_official(file, num_updates=updates),
        to_file=lambda state, model=None: byol.to_official(state),
        model_config=byol.official_config,
        guessed=byol.guessed_options,
        parts=("backbone.", "neck.layers.", "head.layers.", "twin."),
        epoch="epoch",
        fits=byol.is_byol,
        note="a torch file of their arrays, without classifier: their program has to put them into its state",
    ),
    "care": MethodFile(
        from_file=lambda file, updates: care.from_official(
            tensors_of(file, "model", "state_dict"), num_updates=updates
        ),
        to_file=_care_to_file,
        model_config=care.model_config,
        guessed=care.guessed_options,
        parts=("backbone.", "projector_c.", "predictor_c."),
        epoch="start_epoch",
    ),
    "cotnet": MethodFile(
        from_file=lambda file, updates: cotnet_classifier.from_official(file, num_updates=updates),
        to_file=lambda state, model=None: cotnet_classifier.to_official(state),
        model_config=cotnet_classifier.model_config,
        guessed=cotnet_classifier.guessed_options,
        said=cotnet_classifier.said_by_file,
        parts=("backbone.", "head.fc."),
        fits=cotnet_classifier.is_cotnet,
        epoch="epoch",
    ),
    "deepcluster_v2": MethodFile(
        from_file=lambda file, updates: deepcluster_v2.from_official(
            tensors_of(file, "state_dict")
        ),
        to_file=lambda state, model=None: dict(
            state_dict=behind("module.", deepcluster_v2.to_official(state))
        ),
        model_config=deepcluster_v2.model_config,
        guessed=deepcluster_v2.guessed_options,
        parts=("backbone.", "neck.layers.", "heads.0.prototypes."),
        epoch="epoch",
        lacking=("memory.",),  # their program keeps it in files of their own
    ),
    "densecl": MethodFile(
        from_file=_densecl_from_file,
        to_file=lambda state, model=None: dict(state_dict=densecl.to_official(state)),
        model_config=densecl.model_config,
        guessed=densecl.guessed_options,
        parts=("backbone.", "neck.mlp.", "neck.cell_mlp.", "queue.", "dense_queue."),
        epoch="meta.epoch",
    ),
    "dino": _dino(by_esvit=False),
    "esvit": _dino(by_esvit=True),
    "hcsc": _contrast("hcsc", ("prototypes.", "key_partition")),
    "infomin": MethodFile(
        from_file=lambda file, updates: infomin.from_official(
            tensors_of(file, "model"), ema=file.get("model_ema"), num_updates=updates
        ),
        to_file=lambda state, model=None: {
            name: behind("module.", part) for name, part in infomin.to_official(state).items()
        },
        model_config=infomin.model_config,
        guessed=infomin.guessed_options,
        parts=("backbone.", "neck.layers.", "jigsaw_head."),
        epoch="epoch",
        lacking=("queue.",),
    ),
    "moby": MethodFile(
        from_file=lambda file, updates: moby.from_official(
            tensors_of(file, "model", "state_dict"), num_updates=updates
        ),
        to_file=lambda state, model=None: dict(model=moby.to_official(state)),
        model_config=moby.model_config,
        guessed=moby.guessed_options,
        parts=("backbone.", "neck.", "head.layers.", "queues."),
        epoch="epoch",
    ),
    "moco": _contrast("moco"),
    "moco_v3": MethodFile(
        from_file=lambda file, updates: moco_v3.from_official(
            tensors_of(file, "state_dict", "model"), num_updates=updates
        ),
        to_file=lambda state, model=None: dict(
            arch=moco_v3.architecture(state),
            state_dict=behind("module.", moco_v3.to_official(state)),
        ),
        model_config=moco_v3.model_config,
        guessed=moco_v3.guessed_options,
        parts=("backbone.", "neck.layers.", "head.layers.", "twin."),
        epoch="epoch",
        fits=moco_v3.is_moco_v3,
    ),
    "npid": MethodFile(
        from_file=lambda file, updates: npid.from_official(file),
        to_file=_npid_to_file,
        model_config=npid.model_config,
        guessed=npid.guessed_options,
        parts=("backbone.", "neck.", "bank."),
        epoch="epoch",
        said=lambda file, config: npid.said_by_file(file),
        note="lemniscate is a state dict: their program has to load it into its module",
    ),
    "pcl": _contrast("pcl", ("prototypes.",)),
    "pic": MethodFile(
        from_file=lambda file, updates: pic.from_official(tensors_of(file, "model", "state_dict")),
        to_file=lambda state, model=None: dict(model=behind("module.", pic.to_official(state))),
        model_config=pic.model_config,
        guessed=pic.guessed_options,
        parts=("backbone.", "neck.layers.0.weight", "head."),
        epoch="epoch",
        fits=pic.has_instances,
        said=lambda file, config: pic.said_by_file(file),
        simplified=pic.simplified,
    ),
    "pixpro": MethodFile(
        from_file=lambda file, updates: pixpro.from_official(
            tensors_of(file, "model", "state_dict"), num_updates=updates
        ),
        to_file=lambda state, model=None: dict(model=behind("module.", pixpro.to_official(state))),
        model_config=pixpro.model_config,
        guessed=pixpro.guessed_options,
        parts=("backbone.", "neck.layers.0.weight"),
        epoch="epoch",
        fits=pixpro.has_projector_of_maps,
        said=lambda file, config: pixpro.said_by_file(file),
    ),
    "simsiam": MethodFile(
        from_file=lambda file, updates: simsiam.from_official(
            tensors_of(file, "state_dict", "model")
        ),
        to_file=lambda state, model=None: dict(
            arch=moco.architecture(state),
            state_dict=behind("module.", simsiam.to_official(state)),
        ),
        model_config=simsiam.model_config,
        guessed=lambda state: [],
        parts=("backbone.", "neck.layers.", "head.layers."),
        epoch="epoch",
        fits=simsiam.is_simsiam,
    ),
    "swav": MethodFile(
        from_file=lambda file, updates: swav.from_official(tensors_of(file, "state_dict")),
        to_file=lambda state, model=None: dict(
            state_dict=behind("module.", swav.to_official(state))
        ),
        model_config=swav.model_config,
        guessed=swav.guessed_options,
        parts=("backbone.", "neck.layers.", "head.prototypes."),
        epoch="epoch",
        optional=("queues.", "filled"),  # their program keeps them in files of their own
    ),
}
_SIGNS = {
    "densecl": r"encoder_q\.1\.mlp2\..*",
    "moco": r"encoder_q\..*",
    "care": r"(student_encoder|teacher_encoder)\..*",
    "pic": r"sim_matrix",
    "pixpro": r"projector(_k)?\.linear1\.weight",
    "infomin": r"head_jig\..*",
    "moco_v3": r"(base|momentum)_encoder\..*",
    "simsiam": r"encoder\.fc\.6\.weight",
    "deepcluster_v2": deepcluster_v2.SIGN,
    "swav": r"projection_head\..*|prototypes\.weight",
    "barlow_twins": r"projector\.[0-9]+\.weight",
    "moby": r"(encoder_k|projector_k|predictor)\..*|queue[12]",
    "dino": r"(head|head_dense)\.last_layer\..*",
    "cotnet": SIGN,
}


def method_of_file(file: Mapping[str, Any], config: Mapping[str, Any] | None = None) -> str:
    """The key of `METHOD_FILES` that an official file belongs to, by the names in it.

    Args:
        file: The content of a weights file.
        config: Its model config, if it is known: whose a file of MoCo's layout is.

    Raises:
        ValueError: It holds a backbone alone, or what no method knows.
    """
    if byol.is_official(file):
        return "byol"
    state = tensors_of(file, "student", "teacher", "model", "state_dict", "state_dict_ema")
    plain = {key.removeprefix("module."): value for key, value in state.items()}
    for method, sign in _SIGNS.items():
        if any(re.fullmatch(sign, key) for key in plain):
            if method == "dino" and dino.named_by_esvit(plain):
                return "esvit"
            if method == "moco":
                known = str((config or {}).get("type")).lower()
                return known if known in ("moco", "pcl", "hcsc") else moco.method_of(plain)
            return method
    if any(re.fullmatch(DETECTRON_SIGN, key) for key in plain):
        raise ValueError(_CLASSIFIERS_ONLY)
    if npid.bank_buffers(file):
        return "npid"
    if is_backbone(plain):
        raise ValueError(BACKBONE_ALONE)
    held = list(state) or list(file)
    raise ValueError(
        f"The file is of none of {', '.join(METHOD_FILES)}; its first names are {held[:4]}. For the "
        "backbone of another method load_backbone and PretrainedBackbone take most files as they are."
    )


def read_off(
    file: Mapping[str, Any], state: State, layout: SourceFile
) -> tuple[dict[str, Any], list[str]]:
    """The model config by the weights, by the rest of the file where they say nothing, else guessed.

    Args:
        file: The content of an official file.
        state: Its tensors by the keys of the algorithm.
        layout: Of the method.

    Returns:
        The config, and dotted names in it that are guesses.
    """
    config, guessed = layout.model_config(state), layout.guessed(state)
    of_backbone = [f"backbone.{name}" for name in backbone_guesses(state)]
    guessed = guessed + [name for name in of_backbone if name not in guessed]
    for name, value in layout.said(file, config).items():
        *path, last = name.split(".")
        place = place_of(config, ".".join(path)) if path else config
        if name in guessed or place.get(last) is None:
            place[last] = value
            guessed = [other for other in guessed if other != name]
    return config, guessed


def place_of(config: Mapping[str, Any], name: str) -> Any:
    """The value at a dotted name, or `None`."""
    value: Any = config
    for key in name.split("."):
        value = value.get(key)
    return value


class Told(NamedTuple):
    """The model config that an official file tells.

    Attributes:
        config: Of the model.
        guessed: Dotted names of what makes the backbone this network and is taken for granted.
    """

    config: dict[str, Any]
    guessed: tuple[str, ...] = ()


def told_config(file: Mapping[str, Any]) -> Told | None:
    """The model config of an official file, if the file tells all of its backbone; else `None`.

    It does where conversion from a run has noted the config in it, and for a ResNet or a CoTNet of a
    published structure. That such a CoTNet is the published one, blur included, is taken for granted, and
    `Told` says so.

    Args:
        file: The content of a weights file.
    """
    meta = file.get("meta")
    if isinstance(meta, Mapping) and isinstance(meta.get("model"), dict):
        config, guessed = meta["model"], network_guesses(meta)
    else:
        try:
            layout = METHOD_FILES[method_of_file(file)]
            config, names = read_off(file, layout.from_file(file, 1), layout)
        except (KeyError, ValueError):  # of no whole model, whose names would tell
            return None
        guessed = network_guesses(dict(guessed=names))
    return Told(config, guessed) if set(guessed) <= {"backbone.arch"} else None


def network_guesses(meta: Mapping[str, Any]) -> tuple[str, ...]:
    """Guesses noted in a file that make the backbone another network if they are wrong.

    How often blocks were skipped in training makes none.

    Args:
        meta: With dotted names under `guessed`, if there are any.
    """
    return tuple(
        name
        for name in meta.get("guessed") or ()
        if name.startswith("backbone.") and name != "backbone.drop_path_rate"
    )


BACKBONE_ALONE = (
    "The file holds a backbone without the heads of a method, so there is no whole model to convert, and "
    "no need to: in a config PretrainedBackbone(checkpoint=...), in Python load_backbone take such a file "
    "as it is."
)


_CLASSIFIERS_ONLY = (
    "The file has the names of CoTNet's detection repository (detectron2, res2.0.conv2...): a detector, of "
    "which no model of ours is the whole. Its backbone loads as it is by "
    "PretrainedBackbone(checkpoint=...), load_backbone, or tools/export_backbone.py with --from-config."
)


def is_backbone(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict in the official layout holds a backbone of a known family.

    Args:
        state: Without `module.`; other parts may stand beside the backbone.
    """
    for prefix in ("", "backbone.", "encoder."):
        own = {key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)}
        try:
            backbone_kind(own, official=True)
        except KeyError:
            continue
        return True
    return False


def method_of_state(state: Mapping[str, Tensor], config: Mapping[str, Any] | None) -> str:
    """The key of `METHOD_FILES` for a state dict of ours.

    Args:
        state: Keys of an algorithm.
        config: Its model config, if it is known: who trained a ViT without regions, by its `pos_interp`.

    Raises:
        ValueError: No method of them has such parts.
    """
    fitting = [
        method
        for method, layout in METHOD_FILES.items()
        if method != "esvit"
        and all(any(key.startswith(p) for key in state) for p in layout.parts + layout.lacking)
        and layout.fits(state)
    ]
    if not fitting:
        raise ValueError(
            f"The source is no whole checkpoint of {', '.join(METHOD_FILES)} in our layout; it holds "
            f"{sorted({key.split('.')[0] for key in state})[:8] or 'no state dict'}. Without --to official "
            "the tool reads the authors' layout; tools/export_backbone.py writes a backbone alone."
        )
    by_esvit = any(key.startswith("region_head.") for key in state)
    if config is not None and config["backbone"].get("type") == "VisionTransformer":
        by_esvit |= config["backbone"].get("pos_interp", "esvit") == "esvit"
    if fitting == ["dino"] and by_esvit:
        return "esvit"
    # what is built on a method has its parts and more
    return max(fitting, key=lambda name: len(METHOD_FILES[name].parts + METHOD_FILES[name].lacking))
