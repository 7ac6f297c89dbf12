"""CARE's attention, blocks and stacks against the authors' modules (float32 and float64)."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from mmssl.convert.key_map import check_complete, rename_keys
from mmssl.convert.official.care import stack_rules
from mmssl.models.layers import AttentionBlock, BottleneckAttention
from mmssl.models.necks import AttentionStack
from tests.helpers.fill import fill, image
from tests.helpers.goldens import Golden

pytestmark = pytest.mark.parity
POSITION = {False: "absolute", True: "relative"}


def fill_module(module: nn.Module, ours: str = "", theirs: str = "") -> nn.Module:
    """Fill by the authors' keys, found and undone by the converter's rules.

    `ours` and `theirs` are where the module lies inside a stack.
    """
    state = module.state_dict()
    official = rename_keys(
        {ours + key: value for key, value in state.items()}, stack_rules(), backward=True
    )
    filled = {key: fill(key.removeprefix(theirs), value.shape) for key, value in official.items()}
    renamed = rename_keys(filled, stack_rules())
    renamed = {key.removeprefix(ours): value for key, value in renamed.items()}
    check_complete(renamed, state)
    module.load_state_dict(renamed)
    return module


def official_parameters(module: nn.Module, ours: str, theirs: str) -> dict[str, nn.Parameter]:
    named = {ours + name: parameter for name, parameter in module.named_parameters()}
    official = rename_keys(named, stack_rules(), backward=True)
    return {name.removeprefix(theirs): parameter for name, parameter in official.items()}


def run_case(case: str, module: nn.Module, dtype: torch.dtype, ours: str = "", theirs: str = ""):
    golden = Golden("care", case)
    fill_module(module, ours, theirs).to(dtype).train(golden.entry["mode"] == "train")
    inputs, cotangent = golden.entry["inputs"]
    x = image(inputs["name"], inputs["shape"]).to(dtype).requires_grad_()
    out = module(x)
    (out * image(cotangent["name"], cotangent["shape"]).to(dtype)).sum().backward()
    golden.check("out", out)
    golden.check("grad_input", x.grad)
    parameters = official_parameters(module, ours, theirs)
    buffers = rename_keys(
        {ours + name: buffer for name, buffer in module.state_dict().items()},
        stack_rules(),
        backward=True,
    )
    checked = 0
    for name in golden.entry["arrays"]:
        kind, _, key = name.partition("/")
        if kind == "gradnorm":
            golden.check(name, parameters[key].grad.double().norm(), dtype)
            checked += 1
        elif kind == "buffer":
            golden.check(name, buffers[theirs + key])
    assert checked >= 3
    return golden


def arguments_of(case: str) -> dict:
    """The constructor arguments of a golden's `built` text, by our names."""
    built = Golden("care", case).entry["built"]
    text = re.search(r"\*\*(\{.*?\})", built)
    values = eval(text.group(1)) if text else eval("dict" + built[built.index("(") :])
    names = dict(
        dim="in_channels",
        dim_out="out_channels",
        heads="num_heads",
        dim_head="head_dim",
        num_layers="num_blocks",
    )
    values["pos_enc"] = POSITION[values.pop("rel_pos_emb")]
    return {names.get(key, key): value for key, value in values.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", ["attention_abs_3x9", "attention_abs_7x5", "attention_rel_7x5"])
def test_values_attention(case, dtype):
    module = BottleneckAttention(**arguments_of(case))
    golden = run_case(case, module, dtype, "blocks.0.attention.", "net.0.net.3.")
    shape = golden.entry["arrays"]["pos_logits"]["shape"]
    queries = image(f"{case}/q", [*shape[:3], module.head_dim]).to(dtype)
    golden.check("pos_logits", module.position.logits(queries))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", ["block_down_abs_8x6_train", "block_down_abs_8x6_eval"])
def test_values_block(case, dtype):
    run_case(case, AttentionBlock(**arguments_of(case)), dtype, "blocks.0.", "net.0.")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "case",
    [
        "stack_abs_down_8x12",
        "stack_abs_identity_5x9",
        "stack_rel_down_14x10_eval",
        "stack_rel_nodown_7x5",
    ],
)
def test_values_stack(case, dtype):
    run_case(case, AttentionStack(**arguments_of(case)), dtype)


@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        ("tstream_full_abs_eval", torch.float32),
        # float32 is ill-conditioned here: batch statistics of an almost uniform attention
        ("tstream_full_abs", torch.float64),
    ],
)
def test_values_stack_of_official_size(case, dtype):
    run_case(case, AttentionStack(**arguments_of(case)), dtype)
