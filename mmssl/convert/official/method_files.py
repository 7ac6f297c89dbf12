"""Files of whole models as each method's authors write them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import nn

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
from mmssl.convert.official.named_parts import NamedParts
from mmssl.convert.official.source_file import MethodFile, State, tensors_of

_NETWORKS = ("student", "teacher")


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


def _renamed(layout: NamedParts, *names: str, with_arch: bool = False, **row: Any) -> MethodFile:
    """Files of which only the names of parts differ from ours; the first of `names` holds what is written."""

    def to_file(state: State, model: nn.Module | None = None) -> dict[str, Any]:
        arch = dict(arch=moco.architecture(state)) if with_arch else {}
        return {**arch, names[0]: behind("module.", layout.to_official(state))}

    return MethodFile(
        from_file=lambda file, updates: layout.from_official(tensors_of(file, *names)),
        to_file=to_file,
        epoch="epoch",
        **row,
    )


def _npid_to_file(state: State, model: nn.Module | None = None) -> dict[str, Any]:
    params = None if model is None else npid.params_of(model, state["normalizer"])
    return dict(arch=moco.architecture(state), **npid.to_official(state, params=params))


METHOD_FILES = {
    "barlow_twins": _renamed(
        barlow_twins.LAYOUT,
        "model",
        "state_dict",
        model_config=barlow_twins.model_config,
        guessed=barlow_twins.guessed_options,
        parts=("backbone.", "neck.layers.", "norm.running_mean"),
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
    "care_linear": MethodFile(
        from_file=lambda file, updates: care.from_official(
            tensors_of(file, "classifier", "model", "state_dict")
        ),
        to_file=lambda state, model=None: dict(
            classifier=behind("module.", care.to_official(state))
        ),
        model_config=care.linear_config,
        guessed=lambda state: [],
        parts=("backbone.layer1.0.conv2.", "head.fc.", "head.norm."),
        fits=lambda state: (
            not cotnet_classifier.is_cotnet(state)
            and not any(key.startswith("twin.") for key in state)
        ),
        epoch="epoch",
        note="without the projector encoder.fc.*, which their program builds and never runs",
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
    "deepcluster_v2": _renamed(
        deepcluster_v2.LAYOUT,
        "state_dict",
        model_config=deepcluster_v2.model_config,
        guessed=deepcluster_v2.guessed_options,
        parts=("backbone.", "neck.layers.", "heads.0.prototypes."),
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
    "simsiam": _renamed(
        simsiam.LAYOUT,
        "state_dict",
        "model",
        with_arch=True,
        model_config=simsiam.model_config,
        guessed=lambda state: [],
        parts=("backbone.", "neck.layers.", "head.layers."),
        fits=simsiam.is_simsiam,
    ),
    "swav": _renamed(
        swav.LAYOUT,
        "state_dict",
        model_config=swav.model_config,
        guessed=swav.guessed_options,
        parts=("backbone.", "neck.layers.", "head.prototypes."),
        optional=("queues.", "filled"),  # their program keeps them in files of their own
    ),
}
