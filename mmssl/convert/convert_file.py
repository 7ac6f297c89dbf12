"""convert_file: a checkpoint file of a method from its authors' layout to ours, or back."""

from __future__ import annotations

import copy
import pprint
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from mmengine.config import Config
from torch import Tensor, nn

from mmssl.convert.checkpoint_file import file_sha256, load_weights_file
from mmssl.convert.config_text import read_config_text
from mmssl.convert.key_map import check_complete
from mmssl.convert.load_algorithm import carried_config
from mmssl.convert.official.family_files import FAMILY_FILES, source_file
from mmssl.convert.official.method_files import METHOD_FILES
from mmssl.convert.official.method_recognition import (
    BACKBONE_ALONE,
    method_of_file,
    method_of_state,
)
from mmssl.convert.official.mmselfsup import family_method
from mmssl.convert.official.source_file import SourceFile, tensors_of
from mmssl.convert.official.told_config import place_of, read_off
from mmssl.convert.official.twin_updates import NUM_UPDATES
from mmssl.engine.config import load_config
from mmssl.ops.atomic_file import written_whole
from mmssl.registry import MODELS

State = dict[str, Tensor]
# Names that no official file has.
_OURS_ALONE = {NUM_UPDATES, "center.mean", "bank.features", "head.rows.weight"}
METHODS = tuple(sorted({*METHOD_FILES, *FAMILY_FILES}))
_OURS_WITH_BACKBONE = "head.weight"  # alone it is the classifier of timm and DeiT
_IN_META = "meta."


class _Model(NamedTuple):
    """The config of a model and where it comes from; `guessed` are dotted names in it."""

    config: dict[str, Any]
    origin: str
    guessed: tuple[str, ...] = ()


def convert_file(
    source: str | Path,
    target: str | Path,
    *,
    method: str = "auto",
    to: Literal["ours", "official"] = "ours",
    iters_per_epoch: int = 1251,
    config: str | Path | None = None,
    trust_pickle: bool = False,
) -> list[str]:
    """Convert a checkpoint of a whole model and prove that nothing was lost.

    Towards ours, files of mmselfsup and mmpretrain are taken as well as those of the methods' authors.

    The model config comes, in this order, from `config`; from the checkpoint itself (a run's, or an
    official file that was written here); from the names, shapes and `args` of an official file, the rest
    being guessed after the published models. It travels in `meta` of what is written. Of a file that
    holds one network (a teacher alone, a plain state dict) the twin becomes a copy that has yet to be
    trained, and centers are 0. What official files never hold (the prototypes of PCL and HCSC) is as
    before training towards ours, and left out towards theirs.

    Args:
        source: Official file or one of our checkpoints.
        target: Where to write. Towards ours the model config is written beside it, with suffix `.py`.
        method: One of `METHODS`, or `auto`: by the names in the file.
        to: Direction.
        iters_per_epoch: Of the official run: the teacher has made `epoch * iters_per_epoch` updates.
        config: A config whose `model` is the one in the file.
        trust_pickle: Read a file that holds more than tensors and plain containers.

    Returns:
        Lines that say what was done, and what was guessed.

    Raises:
        KeyError: A key that belongs to no part of such a model.
        ValueError: An unknown method or none that the file fits, weights that do not fit the model
            config, a file of a backbone alone, or the source is in the layout asked for.
        OSError: A file that cannot be read or written.
    """
    if method not in ("auto", *METHODS):
        raise ValueError(f"method must be one of auto, {', '.join(METHODS)}, got {method!r}.")
    target = Path(target)
    if target.is_dir() or target.suffix == ".py":
        raise ValueError(f"{target} is to be a weights file, for example {target / 'ours.pth'}.")
    file = load_weights_file(source, trust_pickle=trust_pickle)
    given = None if config is None else _Model(_given_model(config), f"of {config}")
    origin = dict(source=Path(source).name, sha256=file_sha256(source))
    if to == "official":
        return _to_official(file, target, method, given or _carried(file, source), origin)
    if _is_ours(tensors_of(file, "state_dict")):
        raise ValueError(
            f"{source} is a checkpoint of mmssl already; --to official converts it the other way."
        )
    return _to_ours(file, target, method, given, origin, iters_per_epoch)


def _is_ours(state: Mapping[str, Tensor]) -> bool:
    with_backbone = any(key.startswith("backbone.") for key in state)
    return bool(_OURS_ALONE & state.keys()) or (with_backbone and _OURS_WITH_BACKBONE in state)


def _to_official(
    file: Mapping[str, Any],
    target: Path,
    method: str,
    model: _Model | None,
    origin: dict[str, str],
) -> list[str]:
    state = tensors_of(file, "state_dict")
    if method == "auto":
        method = method_of_state(state, model and model.config)
    if method not in METHOD_FILES:
        raise ValueError(
            f"Files of {method} are read, not written: there is no layout of its authors."
        )
    layout = METHOD_FILES[method]
    _check_parts(state, layout, method)
    state, plain = layout.simplified(state, model and model.config)
    model = model and model._replace(config=plain)
    state, left_out = _split(state, layout.ours_alone)
    meta: dict[str, Any] = dict(origin)
    built = None if model is None else _built(model, "meta")
    theirs = layout.to_file(state, built)
    if model is not None and built is not None:
        _check_fits(state, model, _split(built.state_dict(), layout.ours_alone)[0])
        meta |= dict(model=model.config, guessed=list(model.guessed))
    epoch = int((file.get("meta") or {}).get("epoch") or 0)
    holder = meta if layout.epoch.startswith(_IN_META) else theirs
    holder[layout.epoch.removeprefix(_IN_META)] = epoch
    with written_whole(target) as partial:
        torch.save({**theirs, "meta": meta}, partial)
    count = sum(len(part) for part in theirs.values() if isinstance(part, Mapping))
    note = "model config -> meta.model of the file"
    if model is None:
        note = (
            "no model config: the checkpoint carries none, so the way back will have to guess "
            "(--config names it)"
        )
    lines = [f"{count} tensors -> {target} (official layout of {method}, epoch {epoch})", note]
    if left_out:
        names = sorted({key.split(".")[0] for key in left_out})
        lines.append(
            f"left out, for their files have none: {', '.join(names)} ({len(left_out)} tensors)"
        )
    return lines + ([layout.note] if layout.note else [])


def _to_ours(
    file: Mapping[str, Any],
    target: Path,
    method: str,
    given: _Model | None,
    origin: dict[str, str],
    iters_per_epoch: int,
) -> list[str]:
    known = given or _written_here(file)
    by_names = method == "auto" and known is None
    if method == "auto":
        method = family_method(file) or method_of_file(file, known and known.config)
    layout = source_file(method, file)
    holder = (file.get("meta") or {}) if layout.epoch.startswith(_IN_META) else file
    epoch = int(holder.get(layout.epoch.removeprefix(_IN_META)) or 0)
    ours = layout.from_file(file, max(1, epoch * iters_per_epoch))
    _check_parts(ours, layout, method)
    if known is None:
        config, guessed = read_off(file, ours, layout)
        known = _Model(config, "read off the file", tuple(guessed))
    model = known
    expected = _built(model, "meta").state_dict()
    start = _split(expected, layout.ours_alone)[1]
    if start:  # it needs its values
        start = _split(_built(model, "cpu").state_dict(), layout.ours_alone)[1]
    ours |= start
    alone = NUM_UPDATES in expected and not any(key.startswith("twin.") for key in ours)
    if alone:
        names = [key for key in expected if key.startswith("twin.")]
        copies = {key: ours.get(key.removeprefix("twin.")) for key in names}
        ours |= {key: value for key, value in copies.items() if value is not None}
        ours[NUM_UPDATES] = torch.tensor(0)  # a runner starts the twin as a copy
    _check_fits(ours, model, expected)
    config_file = target.with_suffix(".py")
    text = f"model = {pprint.pformat(model.config, sort_dicts=False, width=100)}\n"
    kind = model.config["type"]
    meta = dict(epoch=epoch, method=kind, cfg=text, guessed=list(model.guessed), **origin)
    with written_whole(target) as partial:
        torch.save(dict(state_dict=ours, meta=meta), partial)
    config_file.write_text(text)
    lines = [
        f"{len(ours)} tensors -> {target} ({kind} from the layout of {method}, epoch {epoch})",
        f"model config, {model.origin} -> {config_file}",
    ]
    if model.guessed:
        values = [f"{name}={place_of(model.config, name)!r}" for name in model.guessed]
        lines.append(f"guessed: {', '.join(values)}: check them, or give --config")
    if by_names and layout.doubt:
        lines.append(f"guessed: method {method}, for {layout.doubt}: --method decides")
    if start:
        names = sorted({key.split(".")[0] for key in start})
        lines.append(f"not in such files, as before training: {', '.join(names)}")
    if alone:
        lines.append("one network in the file: the twin is its copy, with no updates behind it")
    return lines


def _given_model(path: str | Path) -> dict[str, Any]:
    """The `model` of a config, in plain containers."""
    config = load_config(path)
    if "model" not in config:
        raise ValueError(f"{path} has no `model`; --config takes the config of the network.")
    return read_config_text(Config(dict(model=config["model"])).pretty_text)["model"]


def _carried(file: Mapping[str, Any], source: str | Path) -> _Model | None:
    """The model in the config of a run, or in that of a file converted before; `None` without a config."""
    meta = file.get("meta")
    if not isinstance(meta, dict) or not isinstance(meta.get("cfg"), str):
        return None
    model = carried_config(dict(file), source)["model"]
    return _Model(model, f"of {source} itself", tuple(meta.get("guessed", ())))


def _written_here(file: Mapping[str, Any]) -> _Model | None:
    """The model that `--to official` noted in a file."""
    meta = file.get("meta")
    if not isinstance(meta, dict) or not isinstance(meta.get("model"), dict):
        return None
    return _Model(meta["model"], "noted in the file", tuple(meta.get("guessed", ())))


def _split(state: Mapping[str, Tensor], parts: tuple[str, ...]) -> tuple[State, State]:
    """The entries that belong to none of `parts`, and the others."""
    within = {key: value for key, value in state.items() if key.startswith(parts)}
    return {key: value for key, value in state.items() if key not in within}, within


def _built(model: _Model, device: str) -> nn.Module:
    """The model; without memory for its weights on the device `meta`."""
    with torch.device(device):
        return MODELS.build(copy.deepcopy(model.config))


def _check_fits(state: State, model: _Model, expected: State) -> None:
    try:
        check_complete(state, expected)
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"The weights do not fit the model config, {model.origin}. {error.args[0]}"
        ) from error


def _check_parts(state: State, layout: SourceFile, method: str) -> None:
    alone = ("backbone.",) if "head.fc." in layout.parts else ("backbone.", "head.fc.")
    if state and all(key.startswith(alone) for key in state):
        raise ValueError(BACKBONE_ALONE)
    lacking = [part for part in layout.parts if not any(key.startswith(part) for key in state)]
    if lacking:
        raise ValueError(
            f"The file is no whole checkpoint of {method}: it holds no "
            f"{', '.join(part.rstrip('.') for part in lacking)} (in our names). "
            "If it is of another method, --method auto finds out which."
        )
