"""The local relation operator: implementations agree, derivatives, torch's machinery, errors."""

from __future__ import annotations

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from mmssl.ops.local_relation import SIMILARITIES, local_relation, operator, shifted
from mmssl.ops.local_relation.operator import relate, relate_backward
from tests.helpers.aggregation import laid_out
from tests.helpers.relation import random_inputs, results
from tests.helpers.tolerance import FLOAT64

WINDOWS = {
    "odd": dict(kernel_size=(3, 5), stride=(2, 1), dilation=(2, 3), size=(7, 9)),
    "stride 2, dilation 2": dict(kernel_size=(7, 7), stride=(2, 2), dilation=(2, 2), size=(5, 6)),
    "beyond the map": dict(kernel_size=(3, 3), stride=(1, 1), dilation=(4, 1), size=(3, 4)),
    "even": dict(kernel_size=(2, 4), stride=(3, 2), dilation=(1, 1), size=(5, 7)),
    "one tap": dict(kernel_size=(1, 1), stride=(2, 2), dilation=(1, 1), size=(4, 1)),
}


def case(window: str = "odd", similarity: str = "neg_squared", extra: int = 0, **changes):
    """Inputs and options."""
    sizes = dict(WINDOWS[window])
    dilation = sizes.pop("dilation")
    inputs = random_inputs(**sizes, extra=extra, **changes)
    options = dict(
        kernel_size=sizes["kernel_size"], groups=3, stride=sizes["stride"], dilation=dilation,
        scale=0.7, outside=-3.0, similarity=similarity,
    )  # fmt: skip
    return inputs, options


def compare(found, expected, **tolerance) -> None:
    for key, value in expected.items():
        torch.testing.assert_close(
            found[key], value, **tolerance, msg=lambda text: f"{key}: {text}"
        )


@pytest.mark.parametrize("extra", [0, 1, 2, 5])
@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("window", WINDOWS)
def test_equivalence_shifted_is_the_formula(window, similarity, extra):
    inputs, options = case(window, similarity, extra)
    compare(
        results(inputs, "shifted", **options), results(inputs, "reference", **options), **FLOAT64
    )


def test_values_by_hand():
    """Two pixels, a window of three: logits -(q - k)^2 and the value beyond the border."""
    query = torch.tensor([[[[0.0, 1.0]]]])
    key = torch.tensor([[[[0.0, 2.0]]]])
    value = torch.tensor([[[[1.0, 3.0]], [[-1.0, 0.0]]]])
    prior = torch.tensor([[[0.0, 0.5, 0.0]]])
    out = local_relation(query, key, value, prior, (1, 3), 1, outside=-1.0)
    left = torch.tensor([-1.0, 0.5, -4.0]).softmax(0)
    right = torch.tensor([-1.0, -0.5, -1.0]).softmax(0)
    expected = [[left[1] + 3 * left[2], right[0] + 3 * right[1]], [-left[1], -right[0]]]
    torch.testing.assert_close(out[0, :, 0], torch.tensor(expected))


def test_equivalence_equal_logits_average():
    """With all keys alike and no prior the centre averages its window."""
    inputs = random_inputs(size=(5, 5), num=1)
    inputs[1] = torch.zeros_like(inputs[1])
    inputs[3] = torch.zeros_like(inputs[3])
    out = local_relation(*inputs, 3, 3)
    mean = torch.nn.functional.avg_pool2d(inputs[2], 3, 1)
    torch.testing.assert_close(out[..., 1:-1, 1:-1], mean)


@pytest.mark.parametrize("limit", [1, 70, 10**6])
def test_equivalence_images_in_parts(monkeypatch, limit):
    inputs, options = case(num=5, extra=1)
    expected = results(inputs, "reference", **options)
    monkeypatch.setattr(shifted, "MAX_VALUES", limit)
    compare(results(inputs, "shifted", **options), expected, **FLOAT64)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_gradcheck(similarity):
    inputs = random_inputs(groups=2, size=(3, 4), stride=(2, 1), kernel_size=(3, 2), num=1, extra=1)
    options = dict(kernel_size=(3, 2), groups=2, stride=(2, 1), scale=0.7, similarity=similarity)
    torch.autograd.gradcheck(
        lambda *args: local_relation(*args, implementation="shifted", **options),
        [each.requires_grad_() for each in inputs],
        fast_mode=True,
    )


def test_gradcheck_second_derivative_of_the_formula():
    inputs = [each.requires_grad_() for each in random_inputs(size=(2, 3), num=1, groups=1)]
    torch.autograd.gradgradcheck(
        lambda *args: local_relation(*args, 3, 1, implementation="reference"), inputs
    )


def test_raises_for_a_second_derivative():
    inputs = [each.requires_grad_() for each in random_inputs()]
    y = local_relation(*inputs, 3, 3, implementation="shifted")
    (grad,) = torch.autograd.grad(y.sum(), inputs[:1], create_graph=True)
    with pytest.raises(NotImplementedError, match='no second derivative.*"reference"'):
        grad.sum().backward()


@pytest.mark.parametrize("number", range(4))
def test_raises_for_a_derivative_in_forward_mode(number):
    inputs = random_inputs()

    def run(tensor, implementation):
        arguments = [*inputs[:number], tensor, *inputs[number + 1 :]]
        return local_relation(*arguments, 3, 3, implementation=implementation)

    point = (inputs[number],)
    _, exact = torch.func.jvp(lambda each: run(each, "reference"), point, point)
    assert exact.abs().sum() > 0.1
    with pytest.raises(NotImplementedError, match='no derivative in forward mode.*"reference"'):
        torch.func.jvp(lambda each: run(each, "auto"), point, point)


@pytest.mark.parametrize("implementation", ["shifted", "reference"])
def test_equivalence_mapped(implementation):
    """One more dimension by `vmap`, the prior shared."""
    query, key, value, prior = random_inputs()

    def one(*maps):
        return local_relation(*maps, prior, 3, 3, implementation=implementation)

    found = torch.func.vmap(one)(*(each[:, None] for each in (query, key, value)))
    torch.testing.assert_close(found[:, 0], one(query, key, value), **FLOAT64)


def test_raises_for_functional_gradients_but_the_formula():
    inputs = random_inputs()

    def total(query, implementation):
        return local_relation(query, *inputs[1:], 3, 3, implementation=implementation).sum()

    expected = results(inputs, "reference", torch.ones_like(inputs[2]), kernel_size=3, groups=3)
    found = torch.func.grad(lambda query: total(query, "reference"))(inputs[0])
    torch.testing.assert_close(found, expected["gq"], **FLOAT64)
    with pytest.raises(RuntimeError, match=r"torch\.func|functorch"):
        torch.func.grad(lambda query: total(query, "shifted"))(inputs[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("implementation", ["shifted", "reference"])
def test_values_half_precision(dtype, implementation):
    """Against the float32 result of the rounded inputs; the saliency is threefold in the type of sums."""
    inputs, options = case(dtype=torch.float32, extra=2, inner=3)
    inputs[1][:, 9:] += 3
    inputs = [each.to(dtype) for each in inputs]
    found = results(inputs, implementation, **options)
    expected = results([each.float() for each in inputs], "reference", **options)
    eps = torch.finfo(dtype).eps
    for key, value in expected.items():
        assert found[key].dtype == dtype
        # the result is read again, rounded, in the backward pass
        atol = (0.1 if key == "y" else 2) * eps * float(value.abs().max())
        torch.testing.assert_close(found[key].float(), value, rtol=eps, atol=atol)


def test_values_a_large_saliency_does_not_overflow():
    """Thrice 30000 is no half-precision number; equal everywhere, it changes no weight."""
    inputs = [
        each.half()
        for each in random_inputs(dtype=torch.float32, inner=3, extra=1, kernel_size=(1, 1))
    ]
    inputs[1][:, 9:] = 30000
    found = results(inputs, "shifted", kernel_size=1, groups=3)
    torch.testing.assert_close(found["y"], inputs[2])
    assert all(each.isfinite().all() for each in found.values())


def test_values_mixed_types_under_autocast():
    """What a layer sees: keys out of a convolution in bf16, values and prior in float32."""
    inputs = random_inputs(dtype=torch.float32)
    conv = torch.nn.Conv2d(9, 6, 1)
    with torch.autocast("cpu", torch.bfloat16):
        alike = conv(inputs[2])
        assert alike.dtype == torch.bfloat16
        prior = inputs[3].requires_grad_()
        out = local_relation(alike, alike, inputs[2], prior, 3, 3)
    assert out.dtype == torch.float32
    out.sum().backward()
    assert conv.weight.grad.dtype == prior.grad.dtype == torch.float32
    expected = local_relation(alike, alike, inputs[2], prior, 3, 3, implementation="reference")
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("extra", [0, 2])
def test_equivalence_opcheck(extra):
    inputs, options = case(extra=extra, dtype=torch.float32)
    query, key, value, prior = (each.requires_grad_() for each in inputs)
    arguments = (query, key, laid_out(value, "channels_last"), prior)
    torch.library.opcheck(relate, (*arguments, *options.values(), "shifted"))
    found = relate(*arguments, *options.values(), "shifted")
    inputs = [each.detach() for each in (found[0], *arguments, *found)]
    for needs in ([True] * 4, [False, True, False, True]):
        torch.library.opcheck(
            relate_backward,
            (*inputs, *options.values(), "shifted", needs),
            test_utils=("test_schema", "test_faketensor"),
        )


def some_gradients(inputs, implementation, wanted, **options):
    """The gradients of the inputs in `wanted` alone, where no other needs one."""
    leaves = [each.detach().requires_grad_(index in wanted) for index, each in enumerate(inputs)]
    y = local_relation(*leaves, implementation=implementation, **options)
    grad = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view_as(y)
    return torch.autograd.grad(y, [leaves[index] for index in wanted], grad)


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (3,), (0, 3), (1, 2)])
def test_equivalence_some_gradients(wanted):
    inputs, options = case(extra=2)
    found, expected = (
        some_gradients(inputs, each, wanted, **options) for each in ("shifted", "reference")
    )
    torch.testing.assert_close(found, expected, **FLOAT64)


def test_state_only_wanted_gradients_are_computed(monkeypatch):
    seen = []
    real = shifted.backward_shifted
    monkeypatch.setattr(
        operator, "backward_shifted", lambda *args: seen.append(args[-1]) or real(*args)
    )
    inputs, options = case(extra=1)
    some_gradients(inputs, "shifted", (2,), **options)
    assert [each is not None for each in seen[0]] == [False, False, True, False]


def test_equivalence_compiled():
    inputs = random_inputs(dtype=torch.float32)

    def run(*args):
        return local_relation(*args, 3, 3).relu()

    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    leaves = [[each.clone().requires_grad_() for each in inputs] for _ in range(2)]
    results = [each(*those) for each, those in zip((run, compiled), leaves, strict=True)]
    torch.testing.assert_close(*results)
    for result in results:
        result.sum().backward()
    for plain, other in zip(*leaves, strict=True):
        torch.testing.assert_close(plain.grad, other.grad)


class Relate(torch.nn.Module):
    """The operator as a network."""

    def forward(self, query, key, value, prior):
        return local_relation(query, key, value, prior, 3, 3, stride=2)


def test_equivalence_exported_for_any_batch():
    inputs = random_inputs(stride=(2, 2), dtype=torch.float32)
    batch = torch.export.Dim("batch", min=1, max=64)
    shapes = ({0: batch}, {0: batch}, {0: batch}, None)
    program = torch.export.export(Relate(), tuple(inputs), dynamic_shapes=shapes)
    more = [torch.cat([each, each + 1, each]) for each in inputs[:3]]
    torch.testing.assert_close(
        program.module()(*more, inputs[3]), Relate()(*more, inputs[3]), rtol=0, atol=0
    )


def test_equivalence_checkpointed():
    inputs = random_inputs()
    leaves = [[each.clone().requires_grad_() for each in inputs] for _ in range(2)]
    local_relation(*leaves[0], 3, 3).square().sum().backward()
    out = checkpoint(lambda *args: local_relation(*args, 3, 3), *leaves[1], use_reentrant=False)
    out.square().sum().backward()
    for plain, other in zip(*leaves, strict=True):
        torch.testing.assert_close(plain.grad, other.grad, rtol=0, atol=0)


@pytest.mark.parametrize("implementation", ["reference", "shifted"])
def test_shapes_empty_batch(implementation):
    found = results(random_inputs(num=0), implementation, kernel_size=3, groups=3)
    assert found["y"].shape == (0, 9, 5, 6)
    assert not found["gpos"].any()


def test_shapes_channels_last_stays():
    query, key, value, prior = random_inputs(dtype=torch.float32)
    out = local_relation(query, key, value.to(memory_format=torch.channels_last), prior, 3, 3)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert not out.is_contiguous()


def test_shapes_part_of_a_channels_last_map_stays():
    """Not dense, its channels still lie innermost; compilers are told the same."""
    query, key, value, prior = random_inputs(dtype=torch.float32)
    wide = torch.cat([value, value], 1).to(memory_format=torch.channels_last)
    part = wide[:, :9]
    assert not part.is_contiguous(memory_format=torch.channels_last)

    def run(*args):
        return local_relation(*args, 3, 3)

    out = run(query, key, part, prior)
    assert out.is_contiguous(memory_format=torch.channels_last)
    traced = torch.compile(run, fullgraph=True, backend="aot_eager")(query, key, part, prior)
    assert traced.stride() == out.stride()
    torch.testing.assert_close(out, run(query, key, value, prior))


def test_values_a_large_gap_does_not_overflow():
    query, key, value, prior = random_inputs(dtype=torch.float32)
    wide = [query * 1e3, key * 1e3, value, prior]
    found = results(wide, "shifted", kernel_size=3, groups=3)
    exact = results([each.double() for each in wide], "reference", kernel_size=3, groups=3)
    for name, each in found.items():
        expected = exact[name].float()
        atol = max(
            1e-4 * float(expected.abs().max()), 1e-6
        )  # gradients of a saturated softmax are 0
        torch.testing.assert_close(each, expected, rtol=1e-3, atol=atol)


BAD = {
    "queries, keys and values": dict(query=torch.zeros(2, 3, 4)),
    "floating-point": dict(value=torch.zeros(2, 9, 5, 6, dtype=torch.long)),
    "similarity must be one of.*'cosine'": dict(similarity="cosine"),
    "scale and outside must be finite": dict(outside=float("-inf")),
    "groups=4 must divide the 6 channels": dict(groups=4),
    "Keys need the 6 channels": dict(key=torch.zeros(2, 5, 5, 6)),
    "of the same images": dict(value=torch.zeros(1, 9, 5, 6)),
    "size of the output": dict(query=torch.zeros(2, 6, 4, 6)),
    r"position_weight must have shape.*\(3, 3, 3\)": dict(position_weight=torch.zeros(3, 9)),
    "stride is a whole number": dict(stride=0),
    "implementation is one of": dict(implementation="cuda"),
    "needs tensors on a GPU": dict(implementation="triton"),
}


@pytest.mark.parametrize("message", BAD)
def test_raises(message, monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    names = ("query", "key", "value", "position_weight")
    arguments = dict(zip(names, random_inputs(dtype=torch.float32), strict=True))
    arguments |= dict(kernel_size=3, groups=3) | BAD[message]
    with pytest.raises((ValueError, TypeError), match=message):
        local_relation(**arguments)


def test_raises_where_triton_is_told_not_to_interpret(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(ValueError, match="needs tensors on a GPU"):
        local_relation(*random_inputs(), 3, 3, implementation="triton")
