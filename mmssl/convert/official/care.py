"""CARE checkpoints: the authors' layout and ours, both ways, and the model config they imply.

Their file holds `start_epoch`, `model` and `optimizer`; `model` has the keys `module.student_encoder.*` and
`module.teacher_encoder.*`. Early files call the attention stack `bot.` instead of `trans.`. That of a linear
evaluation has `module.encoder.*` and `module.classifier.*` under `classifier`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mmssl.convert.key_map import Rename, rename_keys
from mmssl.convert.official.backbone_configs import backbone_config, count_below
from mmssl.convert.official.twin_updates import NUM_UPDATES, twin_updates


def stack_rules(theirs: str = "", ours: str = "") -> list[Rename]:
    """Rules for an attention stack alone, behind the given prefixes."""
    block, net = f"{ours}blocks.{{block:[0-9]+}}", f"{theirs}net.{{block}}.net"
    layers = {
        "0": "conv1",
        "1": "norm1",
        "3.to_qkv": "attention.qkv",
        "3.pos_emb": "attention.position",
        "5": "norm2",
        "7": "conv2",
        "8": "norm3",
    }
    return [
        Rename(f"{theirs}net.{{block}}.shortcut.{{rest}}", f"{block}.shortcut.{{rest}}"),
        *(Rename(f"{net}.{a}.{{rest}}", f"{block}.{b}.{{rest}}") for a, b in layers.items()),
    ]


def encoder_rules(theirs: str = "", ours: str = "", *, predictors: bool = True) -> list[Rename]:
    """Rules for one encoder (CNN, stack, heads) behind the given prefixes; the teacher has no predictors."""
    rules = [
        Rename(
            f"{theirs}{{part:conv1|bn1|layer[1-4]}}.{{rest}}", f"{ours}backbone.{{part}}.{{rest}}"
        ),
        *stack_rules(f"{theirs}trans.", f"{ours}t_stream."),
    ]
    for number, stream in (("1", "c"), ("2", "t")):
        rules.append(
            Rename(
                f"{theirs}fc{number}.{{layer:0|1|3}}.{{rest}}",
                f"{ours}projector_{stream}.layers.{{layer}}.{{rest}}",
            )
        )
        if predictors:
            rules += [
                Rename(
                    f"{theirs}fc{number}.{a}.{{rest}}",
                    f"{ours}predictor_{stream}.layers.{b}.{{rest}}",
                )
                for a, b in (("4", "0"), ("5", "1"), ("7", "3"))
            ]
    return rules


RULES = [
    *encoder_rules("student_encoder.", ""),
    *encoder_rules("teacher_encoder.", "twin.", predictors=False),
]
LINEAR_RULES = [
    Rename("encoder.{rest}", "backbone.{rest}"),
    Rename("classifier.0.{rest}", "head.fc.{rest}"),
    Rename("classifier.1.{rest}", "head.norm.{rest}"),
]


def _plain(state: Mapping[str, Any]) -> dict[str, Any]:
    """Their keys without the prefix of DDP and with the later name of the attention stack."""
    plain = {}
    for key, value in state.items():
        parts = key.removeprefix("module.").split(".")
        place = 1 if parts[0] in ("student_encoder", "teacher_encoder") else 0
        if parts[place] == "bot":
            parts[place] = "trans"
        plain[".".join(parts)] = value
    return plain


def from_official(state: Mapping[str, Tensor], *, num_updates: int = 1) -> dict[str, Tensor]:
    """Rename an official state dict: a whole model, one encoder, a linear-evaluation model, or a stack.

    Args:
        state: Their keys, with or without `module.`.
        num_updates: Momentum updates that the teacher has behind it. Not 0: our runner takes 0 for "not
            trained yet" and would overwrite the teacher by a copy of the student.

    Returns:
        Keys of `CARE` (of its online part for one encoder), of `ImageClassifier` for a linear evaluation, of
        `AttentionStack` for a stack alone.

    Raises:
        KeyError: A key that belongs to none of them.
        ValueError: `num_updates` below 1.
    """
    updates = twin_updates(num_updates)
    plain = _plain(state)
    if any(key.startswith("classifier.") for key in plain):
        # its encoder carries a projector that is never used
        return rename_keys(plain, LINEAR_RULES, dropped=[r"encoder\.fc\..*"])
    if plain and all(key.startswith("net.") for key in plain):
        return rename_keys(plain, stack_rules())
    if not any(key.startswith(("student_encoder.", "teacher_encoder.")) for key in plain):
        return rename_keys(plain, encoder_rules())
    ours = rename_keys(plain, RULES)
    if any(key.startswith("twin.") for key in ours):
        ours |= updates
    return ours


def to_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a state dict of `CARE`, or of what else `from_official` returns, to the official keys.

    Without `module.`. The count of momentum updates has no place there and is left out; the projector that
    their linear evaluation builds in its encoder and never runs (`encoder.fc`) is not there.

    Raises:
        KeyError: A key that belongs to no part of an official model.
    """
    if any(key.startswith("head.fc.") for key in state):
        return rename_keys(state, LINEAR_RULES, backward=True)
    if state and all(key.startswith("blocks.") for key in state):
        return rename_keys(state, stack_rules(), backward=True)
    return rename_keys(state, RULES, backward=True, dropped=[NUM_UPDATES.replace(".", r"\.")])


def model_config(
    state: Mapping[str, Tensor],
    *,
    norm: str = "SyncBN",
    fmap_size: int | tuple[int, int] = 14,
    head_dim: int = 128,
) -> dict[str, Any]:
    """The `model` config of a state dict in our layout: position kind, blocks, sizes, backbone.

    Args:
        state: Keys of `CARE`, e.g. from `from_official`.
        norm: Norm of backbone and heads (the stack has `BN`, as released).
        fmap_size: Used when the stack has no position tables to read it from.
        head_dim: Used when the stack has no position tables to read it from.

    Raises:
        ValueError: The backbone is no ResNet of a known depth.
    """
    config: dict[str, Any] = dict(
        type="CARE", backbone=backbone_config(state, norm=norm), t_stream=None
    )
    for name in ("projector", "predictor"):
        first, last = state[f"{name}_c.layers.0.weight"], state[f"{name}_c.layers.3.weight"]
        config[name] = dict(
            hid_channels=first.shape[0],
            out_channels=last.shape[0],
            bias=f"{name}_c.layers.0.bias" in state,
            last_bias=f"{name}_c.layers.3.bias" in state,
            norm_cfg=dict(type=norm),
        )
    if "t_stream.blocks.0.conv1.weight" in state:
        stack = _stack_config(state, fmap_size, head_dim)
        config["t_stream"] = stack
        widths = [
            state[key].shape[0] for key in (_last_weight(state, stage) for stage in (1, 2, 3, 4))
        ]
        stack["in_stage"] = widths.index(stack["in_channels"])
        config["backbone"]["out_indices"] = tuple(sorted({stack["in_stage"], 3}))
    return config


def linear_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The `model` config of a linear evaluation in our layout.

    Args:
        state: Keys of `ImageClassifier`, from `from_official`.

    Raises:
        ValueError: The backbone is no ResNet of a known depth.
    """
    return dict(
        type="ImageClassifier",
        frozen=True,
        backbone=backbone_config(state, norm="BN"),
        head=dict(type="LinearHead", num_classes=len(state["head.fc.weight"]), norm=True),
    )


def guessed_options(state: Mapping[str, Tensor]) -> list[str]:
    """Dotted names of what `model_config` takes from the published models, for weights do not tell it.

    Args:
        state: Keys of `CARE`, e.g. from `from_official`.
    """
    first = "t_stream.blocks.0."
    if f"{first}conv1.weight" not in state:
        return []
    if any(key.startswith(f"{first}attention.position.") for key in state):
        return []
    return ["t_stream.fmap_size", "t_stream.head_dim"]


def _last_weight(state: Mapping[str, Tensor], stage: int) -> str:
    """Key of the last convolution of a stage's first block."""
    bottleneck = f"backbone.layer{stage}.0.conv3.weight"
    return bottleneck if bottleneck in state else f"backbone.layer{stage}.0.conv2.weight"


def _stack_config(
    state: Mapping[str, Tensor], fmap_size: int | tuple[int, int], head_dim: int
) -> dict[str, Any]:
    first = "t_stream.blocks.0."
    tables = {
        key.removeprefix(f"{first}attention.position."): value.shape
        for key, value in state.items()
        if key.startswith(f"{first}attention.position.")
    }
    pos_enc = "none"
    if "height" in tables:
        pos_enc = "absolute"
        fmap_size = (tables["height"][0], tables["width"][0])
        head_dim = tables["height"][1]
    elif "rel_height" in tables:
        pos_enc = "relative"
        fmap_size = ((tables["rel_height"][0] + 1) // 2, (tables["rel_width"][0] + 1) // 2)
        head_dim = tables["rel_height"][1]
    if not isinstance(fmap_size, int) and fmap_size[0] == fmap_size[1]:
        fmap_size = fmap_size[0]
    hid_channels, in_channels = state[f"{first}conv1.weight"].shape[:2]
    out_channels = state[f"{first}conv2.weight"].shape[0]
    shortcut = f"{first}shortcut.0.weight"
    return dict(
        type="AttentionStack",
        in_channels=in_channels,
        out_channels=out_channels,
        fmap_size=fmap_size,
        num_blocks=count_below(state, "t_stream.blocks."),
        num_heads=state[f"{first}attention.qkv.weight"].shape[0] // (3 * head_dim),
        head_dim=head_dim,
        proj_factor=out_channels // hid_channels,
        downsample=shortcut in state and state[shortcut].shape[2] == 3,
        pos_enc=pos_enc,
        norm_cfg=dict(type="BN"),
    )
