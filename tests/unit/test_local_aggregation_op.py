"""Local aggregation as an operator: derivatives, layouts, types, compilers, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mmssl.ops.local_aggregation import local_aggregation
from mmssl.ops.local_aggregation import operator as registered
from tests.helpers.aggregation import CASES, FAST, LAYOUTS, inputs, laid_out, options, results


def by_loops(x: Tensor, weight: Tensor, **opts: Any) -> Tensor:
    """The definition, index by index."""
    kernel, stride, padding, dilation = (
        each if isinstance(each, tuple) else (each, each) for each in list(opts.values())[:4]
    )
    groups, (images, channels, height, width) = opts["groups"], x.shape
    _, heads, weight_channels, _, rows, columns = weight.shape
    block, shared = channels // groups, weight_channels // groups
    y = x.new_zeros(images, heads * channels, rows, columns)
    for head in range(heads):
        for c in range(channels):
            q = c // block * shared + c % block % shared
            for h in range(rows):
                for w in range(columns):
                    for i in range(kernel[0]):
                        for j in range(kernel[1]):
                            down = h * stride[0] - padding[0] + i * dilation[0]
                            right = w * stride[1] - padding[1] + j * dilation[1]
                            if 0 <= down < height and 0 <= right < width:
                                y[:, head * channels + c, h, w] += (
                                    weight[:, head, q, i * kernel[1] + j, h, w]
                                    * x[:, c, down, right]
                                )
    return y


@pytest.mark.parametrize("name", CASES)
def test_values_reference_is_the_definition(name: str) -> None:
    x, weight, _ = inputs(name)
    found = local_aggregation(x, weight, **options(name), implementation="reference")
    torch.testing.assert_close(found, by_loops(x, weight, **options(name)))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("implementation", FAST)
def test_equivalence_fast(implementation: str, name: str, layout: str) -> None:
    expected = results(*inputs(name), "reference", **options(name))
    given = (laid_out(each, layout) for each in inputs(name))
    found = results(*given, implementation, **options(name))
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value)


def test_equivalence_pieces_of_images_channels_and_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = results(*inputs("groups", images=5), "reference", **options("groups"))
    for piece in (1, 90, 170, 500):
        monkeypatch.setattr("mmssl.ops.local_aggregation.shifted.PIECE", piece)
        found = results(*inputs("groups", images=5), "shifted", **options("groups"))
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("implementation", ["auto", "shifted"])
def test_values_half_precision_sums_in_float32(implementation: str, dtype: torch.dtype) -> None:
    rounded = inputs("plain", dtype=dtype)
    exact = results(*(each.double() for each in rounded), "reference", **options("plain"))
    found = results(*rounded, implementation, **options("plain"))
    for key, value in exact.items():
        assert found[key].dtype == dtype
        # one rounding of the exact sum
        torch.testing.assert_close(
            found[key].double(), value, rtol=torch.finfo(dtype).eps, atol=1e-6
        )


@pytest.mark.parametrize("implementation", ["reference", *FAST])
def test_values_types_of_half_maps_and_full_weights(implementation: str) -> None:
    x, weight, grad = inputs("plain", dtype=torch.float32)
    found = results(
        x.bfloat16(), weight, grad.bfloat16(), implementation, **options("plain")
    )  # as under autocast, where GroupNorm returns float32
    assert [found[key].dtype for key in ("y", "gx", "gw")] == [
        torch.bfloat16,
        torch.bfloat16,
        torch.float32,
    ]
    exact = results(
        x.bfloat16().float(), weight, grad.bfloat16().float(), "reference", **options("plain")
    )
    torch.testing.assert_close(found["gw"], exact["gw"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found["y"].float(), exact["y"], rtol=8e-3, atol=1e-5)


@pytest.mark.parametrize("implementation", FAST)
def test_values_a_nan_stays_in_its_windows(implementation: str) -> None:
    x, weight, _ = inputs("plain")
    x[0, 3, 2, 3] = torch.nan  # at the right border
    y = local_aggregation(x, weight, **options("plain"), implementation=implementation)
    spoilt = torch.zeros_like(y, dtype=torch.bool)
    spoilt[0, 3, 1:4, 2:4] = True
    assert torch.equal(y.isnan(), spoilt)


@pytest.mark.parametrize("implementation", ["reference", *FAST])
def test_values_weights_of_taps_outside_do_not_count(implementation: str) -> None:
    x, weight, grad = inputs("plain")
    outside = torch.zeros(9, *x.shape[2:], dtype=torch.bool)
    outside[:3, 0] = outside[6:, -1] = True
    outside[0::3, :, 0] = outside[2::3, :, -1] = True
    expected = results(x, weight, grad, implementation, **options("plain"))
    for value in (torch.inf, torch.nan):
        spoilt = torch.where(outside, value, weight)
        found = results(x, spoilt, grad, implementation, **options("plain"))
        assert all(torch.equal(found[key], expected[key]) for key in found)
    endless = torch.full_like(grad, torch.inf)
    slopes = results(x, weight, endless, implementation, **options("plain"))["gw"]
    assert slopes[outside.expand_as(slopes)].eq(0).all()


@pytest.mark.parametrize("implementation", FAST)
def test_state_results_repeat_bit_by_bit(implementation: str) -> None:
    first, second = (
        results(*inputs("groups"), implementation, **options("groups")) for _ in range(2)
    )
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", ["groups", "heads", "stride", "grows"])
@pytest.mark.parametrize("implementation", FAST)
def test_gradcheck(implementation: str, name: str) -> None:
    x, weight, _ = inputs(name, images=1)

    def run(x: Tensor, weight: Tensor) -> Tensor:
        return local_aggregation(x, weight, **options(name), implementation=implementation)

    torch.autograd.gradcheck(
        run, (x.requires_grad_(), weight.requires_grad_()), eps=1e-6, atol=1e-6
    )


def test_gradcheck_second_derivative_of_the_reference() -> None:
    x, weight, _ = inputs("plain", images=1)

    def run(x: Tensor, weight: Tensor) -> Tensor:
        return local_aggregation(x, weight, **options("plain"), implementation="reference")

    torch.autograd.gradgradcheck(run, (x[:, :4].requires_grad_(), weight.requires_grad_()))


def test_raises_second_derivative() -> None:
    x, weight, _ = inputs("plain")
    y = local_aggregation(x.requires_grad_(), weight, **options("plain"))
    (slope,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="second derivative"):
        slope.sum().backward()


@pytest.mark.parametrize("wanted", ["x", "weight"])
@pytest.mark.parametrize("implementation", FAST)
def test_values_one_gradient_alone(implementation: str, wanted: str) -> None:
    x, weight, grad = inputs("plain")
    both = results(x, weight, grad, implementation, **options("plain"))
    target = dict(x=x, weight=weight)[wanted].requires_grad_()
    y = local_aggregation(x, weight, **options("plain"), implementation=implementation)
    y.backward(grad)
    other = dict(x=weight, weight=x)[wanted]
    assert torch.equal(target.grad, both["gx" if wanted == "x" else "gw"])
    assert other.grad is None


@pytest.mark.parametrize(
    ("implementation", "name"),
    [("shifted", "plain"), ("shifted", "groups"), ("shifted", "stride"), ("auto", "heads")],
)
def test_values_opcheck(implementation: str, name: str) -> None:
    x, weight, grad = inputs(name, dtype=torch.float32)
    kernel, stride, padding, dilation, groups = (
        list(each) if isinstance(each, tuple) else each for each in options(name).values()
    )
    pairs = [
        each if isinstance(each, list) else [each, each]
        for each in (kernel, stride, padding, dilation)
    ]
    given = (*pairs, groups, implementation)
    for layout in ("nchw", "channels_last"):
        maps = (laid_out(each, layout).clone().requires_grad_() for each in (x, weight))
        torch.library.opcheck(registered.aggregate, (*maps, *given))
    torch.library.opcheck(registered.aggregate_backward, (grad, x, weight, *given, True, False))


def test_equivalence_compiled_in_one_graph() -> None:
    x, weight, grad = inputs("plain", dtype=torch.float32)

    def run(x: Tensor, weight: Tensor) -> Tensor:
        return torch.relu(local_aggregation(x * 2, weight, **options("plain")))

    compiled = torch.compile(run, fullgraph=True, backend="aot_eager", dynamic=True)
    slopes = []
    for function in (run, compiled):
        given = x.clone().requires_grad_(), weight.clone().requires_grad_()
        y = function(*given)
        slopes.append((y.detach(), *torch.autograd.grad(y, given, grad)))
    for found, expected in zip(slopes[1], slopes[0], strict=True):
        torch.testing.assert_close(found, expected)


class Mixer(torch.nn.Module):
    """A module around the operator."""

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        return local_aggregation(x, weight, **options("plain"))


def test_equivalence_exported_with_any_batch() -> None:
    x, weight, _ = inputs("plain", dtype=torch.float32)
    batch = torch.export.Dim("batch")
    program = torch.export.export(
        Mixer(), (x, weight), dynamic_shapes=({0: batch}, {0: batch}), strict=False
    )
    more = inputs("plain", images=3, dtype=torch.float32)[:2]
    torch.testing.assert_close(program.module()(*more), Mixer()(*more))


def test_equivalence_checkpointed() -> None:
    x, weight, grad = inputs("plain")
    expected = results(x, weight, grad, "auto", **options("plain"))
    x.requires_grad_(), weight.requires_grad_()
    checkpoint(Mixer(), x, weight, use_reentrant=False).backward(grad)
    assert torch.equal(x.grad, expected["gx"])
    assert torch.equal(weight.grad, expected["gw"])


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_values_mapped() -> None:
    x, weight, _ = (each[None].repeat(3, *(1 for _ in each.shape)) for each in inputs("plain"))
    x = x * torch.arange(1, 4).view(3, 1, 1, 1, 1)
    found = torch.func.vmap(Mixer())(x, weight)
    expected = torch.stack([Mixer()(*each) for each in zip(x, weight, strict=True)])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("number", [0, 1])
def test_raises_derivatives_in_forward_mode(number: int) -> None:
    given = list(inputs("plain")[:2])

    def run(each: Tensor, implementation: str) -> Tensor:
        given[number] = each
        return local_aggregation(*given, **options("plain"), implementation=implementation)

    point = (given[number].clone(),)
    _, exact = torch.func.jvp(lambda each: run(each, "reference"), point, point)
    assert exact.abs().sum() > 0.1
    with pytest.raises(NotImplementedError, match='no derivative in forward mode.*"reference"'):
        torch.func.jvp(lambda each: run(each, "auto"), point, point)


@pytest.mark.parametrize("layout", ["nchw", "channels_last"])
def test_shapes_result_has_the_layout_of_x(layout: str) -> None:
    x, weight, _ = inputs("plain")
    x, weight = laid_out(x, layout), laid_out(weight, layout)
    y = local_aggregation(x.requires_grad_(), weight.requires_grad_(), **options("plain"))
    gx, gw = torch.autograd.grad(y.sum(), (x, weight))
    assert y.shape == x.shape
    assert y.stride() == gx.stride() == x.stride()
    assert gw.stride() == weight.stride()


def test_shapes_empty_batch() -> None:
    for implementation in ("reference", "shifted", "auto"):
        found = results(*inputs("plain", images=0), implementation, **options("plain"))
        assert [tuple(found[key].shape) for key in ("y", "gx", "gw")] == [
            (0, 8, 5, 4),
            (0, 8, 5, 4),
            (0, 1, 2, 9, 5, 4),
        ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(kernel_size=5), "25 taps"),
        (dict(kernel_size=0), "kernel_size"),
        (dict(stride=(1, 1, 1)), "stride"),
        (dict(padding=-1), "padding"),
        (dict(dilation=0), "dilation"),
        (dict(padding=0), "batch, height and width"),
        (dict(padding=0, dilation=3), "does not fit into a map"),
        (dict(groups=3), "groups=3"),
        (dict(implementation="cuda"), "implementation is one of"),
        (dict(implementation="triton"), "needs tensors on a GPU"),
    ],
)
def test_raises_wrong_options(
    change: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    x, weight, _ = inputs("plain")
    with pytest.raises(ValueError, match=message):
        local_aggregation(x, weight, **(options("plain") | change))


def test_raises_wrong_tensors() -> None:
    x, weight, _ = inputs("plain")
    with pytest.raises(ValueError, match=r"\(N, C, H, W\)"):
        local_aggregation(x[0], weight, 3, padding=1)
    with pytest.raises(ValueError, match="divide the 7 channels"):
        local_aggregation(x[:, :7], weight, 3, padding=1)
    with pytest.raises(ValueError, match="batch, height and width"):
        local_aggregation(x[:1], weight, 3, padding=1)
    with pytest.raises(TypeError, match="floating-point"):
        local_aggregation(x.long(), weight, 3, padding=1)
    with pytest.raises(ValueError, match="device"):
        local_aggregation(x.to("meta"), weight, 3, padding=1)
