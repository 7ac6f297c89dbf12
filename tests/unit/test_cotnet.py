"""CoTNet: structures, sizes, strides, freezing, recomputation and errors, on tiny networks."""

from __future__ import annotations

import copy
import pickle

import pytest
import timm
import torch
from timm.layers import BlurPool2d, DropPath
from torch import nn

from mmssl.models.backbones import CoTNet, ResNet, view_and_map
from mmssl.models.backbones.cotnet_archs import ARCHS, cotnet_arch
from mmssl.models.layers import CoTLayer, CoXtLayer, SEConv, WindowedSelfAttention
from mmssl.registry import MODELS

EVERY = (0, 1, 2, 3)
COT = dict(depths=(1, 2, 2, 1), planes=(8, 8, 16, 16), stem_channels=8)
COXT = dict(
    depths=(1, 2, 1, 1), planes=(32,) * 4, mixers="coxt", base_width=48, cardinality=2,
    stem_channels=8,
)  # fmt: skip
HYBRID = COT | dict(mixers=("se", "se", ("cot", "se"), "cot"), stem="deep", avg_down=True)
TINY = {
    "cot": COT,
    "coxt": COXT,
    "d": HYBRID,
    "blur": HYBRID | dict(blur=True),
    "sasa": COT | dict(mixers="sasa"),
    "conv": COT | dict(mixers="conv"),
}
archs = pytest.mark.parametrize("name", TINY)


def tiny(name: str = "cot", seed: int = 0, **options) -> CoTNet:
    """A tiny network with all maps, whose residual branches take part."""
    torch.manual_seed(seed)
    options = dict(out_indices=EVERY, zero_init_residual=False) | options
    return CoTNet(TINY[name], **options)


@archs
@pytest.mark.parametrize("size", [(65, 32), (38, 53)])
def test_shapes_of_odd_inputs_follow_the_strides(name, size):
    network = tiny(name).eval()
    assert network.strides == [4, 8, 16, 32]
    maps = network(torch.randn(1, 3, *size))
    expected = [
        (1, channels, -(-size[0] // stride), -(-size[1] // stride))
        for channels, stride in zip(network.out_channels, network.strides, strict=True)
    ]
    assert [tuple(one.shape) for one in maps] == expected


@archs
def test_state_every_parameter_trains(name):
    network = tiny(name)
    for one in network(torch.randn(3, 3, 64, 64)):
        one.square().mean().backward(retain_graph=True)
    assert not [n for n, parameter in network.named_parameters() if parameter.grad is None]


def test_state_mixers_of_the_hybrid():
    """SE-conv in the first stages and in odd blocks of the third, CoT elsewhere."""
    for name in ("d50", "d152"):
        with torch.device("meta"):
            network = CoTNet(name)
        kinds = [
            [type(block.conv2) for block in getattr(network, f"layer{i}")] for i in range(1, 5)
        ]
        assert set(kinds[0] + kinds[1]) == {SEConv}
        assert all(kind is (SEConv, CoTLayer)[i % 2 == 0] for i, kind in enumerate(kinds[2]))
        assert set(kinds[3]) == {CoTLayer}


def test_state_where_the_stride_is():
    blocks = {name: tiny(name).layer2[0] for name in TINY}
    for name in ("cot", "coxt"):
        assert isinstance(blocks[name].pool_before, nn.AvgPool2d), name
    assert isinstance(blocks["sasa"].pool_behind, nn.AvgPool2d)
    assert isinstance(blocks["sasa"].conv2, WindowedSelfAttention)
    assert isinstance(blocks["coxt"].conv2, CoXtLayer)
    assert blocks["d"].conv2.conv.stride == blocks["conv"].conv2[0].stride == (2, 2)
    assert blocks["blur"].conv2.conv.stride == (1, 1)
    assert isinstance(blocks["blur"].pool_behind, BlurPool2d)
    assert not [key for key in tiny("blur").state_dict() if "pool" in key]
    assert isinstance(tiny("d").layer3[0].pool_before, nn.AvgPool2d)


def test_equivalence_convolutions_are_resnet():
    """With the mixer `conv` the network is ResNet-50, whose tensors only have other names."""
    ours = CoTNet("50", mixer="conv", out_indices=(0, 1)).eval()
    theirs = ResNet(50, out_indices=(0, 1)).eval()
    renamed = {
        key.replace(".conv2.0.", ".conv2.").replace(".conv2.1.", ".bn2."): value
        for key, value in ours.state_dict().items()
    }
    theirs.load_state_dict(renamed)
    images = torch.randn(1, 3, 32, 48)
    with torch.no_grad():
        for a, b in zip(ours(images), theirs(images), strict=True):
            torch.testing.assert_close(a, b)


def test_values_of_the_initialisation():
    torch.manual_seed(0)
    network = CoTNet(dict(depths=(1,), planes=(64,)), out_indices=(0,))
    layer = network.layer1[0].conv2
    # He's normal; torch's fan-out does not know of groups
    for conv, fan_out in ((layer.key_embed[0], 64 * 9), (layer.embed[3], 72), (layer.se[3], 128)):
        assert conv.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.06)
    bound = layer.embed[3].in_channels ** -0.5  # torch's own for biases
    assert 0.5 * bound < layer.embed[3].bias.abs().max().item() <= bound
    assert not network.layer1[0].bn3.weight.any()
    for norm in (network.bn1, network.layer1[0].bn1, layer.bn, layer.embed[4]):
        assert bool((norm.weight == 1).all()) and not norm.bias.any()
    assert CoTNet(COT, zero_init_residual=False).layer1[0].bn3.weight.all()


def test_values_drop_path_grows_linearly():
    network = tiny(drop_path_rate=0.5)
    rates = [
        block.drop_path.drop_prob if isinstance(block.drop_path, DropPath) else 0.0
        for stage in range(1, 5)
        for block in getattr(network, f"layer{stage}")
    ]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert isinstance(network.layer1[0].drop_path, nn.Identity)
    # rates belong to the whole network, also where its end is not built
    assert tiny(drop_path_rate=0.5, out_indices=(1,)).layer2[1].drop_path.drop_prob == 0.2


@pytest.mark.parametrize(
    ("options", "strides", "dilations"),
    [
        (dict(output_stride=16), [4, 8, 16, 16], (1, 1, 1, 1)),
        (dict(output_stride=16, dilate_mixer=True), [4, 8, 16, 16], (1, 1, 1, 2)),
        (dict(output_stride=8, dilate_mixer=True), [4, 8, 8, 8], (1, 1, 2, 4)),
        (
            dict(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), dilate_mixer=True),
            [4, 8, 8, 8],
            (1, 1, 2, 4),
        ),
    ],
)
def test_state_output_stride_and_dilation(options, strides, dilations):
    network = tiny(**options).eval()
    assert network.strides == strides
    maps = network(torch.randn(1, 3, 64, 32))
    assert [64 // one.shape[2] for one in maps] == strides
    for stage, dilation in enumerate(dilations):
        for block in getattr(network, f"layer{stage + 1}"):
            assert block.conv2.dilation == dilation
            assert block.conv2.key_embed[0].dilation == (dilation, dilation)
    assert network.state_dict().keys() == tiny().state_dict().keys()


def test_state_dilated_hybrid():
    network = tiny("d", output_stride=8, dilate_mixer=True)
    assert network.strides == [4, 8, 8, 8]
    assert network.layer3[1].conv2.conv.dilation == (2, 2)
    assert [tuple(one.shape[2:]) for one in network(torch.randn(3, 3, 33, 64))] == [
        (9, 16), (5, 8), (5, 8), (5, 8)
    ]  # fmt: skip


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("avg_down", [False, True])
def test_equivalence_dilated_convolutions_to_timm(output_stride, avg_down):
    """The authors' networks are built by timm's functions: first blocks, shortcuts that average on."""
    depths = (1, 2, 2, 2)
    arch = dict(depths=depths, mixers="conv", avg_down=avg_down)
    ours = CoTNet(arch, out_indices=EVERY, output_stride=output_stride)
    theirs = timm.models.resnet.ResNet(
        timm.models.resnet.Bottleneck, list(depths), avg_down=avg_down, output_stride=output_stride
    )
    torch.manual_seed(0)
    floats = {k: v for k, v in ours.state_dict().items() if v.is_floating_point()}
    state = {
        k: torch.randn_like(v).abs() if "var" in k else torch.randn_like(v)
        for k, v in floats.items()
    }
    ours.load_state_dict(state, strict=False)
    renamed = {
        name.replace("conv2.0.", "conv2.").replace("conv2.1.", "bn2."): value
        for name, value in state.items()
    }
    assert not theirs.load_state_dict(renamed, strict=False).unexpected_keys
    x = torch.randn(2, 3, 65, 96)
    with torch.no_grad():
        maps, y = ours.eval()(x), theirs.eval().maxpool(theirs.act1(theirs.bn1(theirs.conv1(x))))
        for stage, found in enumerate(maps):
            y = getattr(theirs, f"layer{stage + 1}")(y)
            torch.testing.assert_close(found, y, rtol=1e-4, atol=1e-4 * float(y.abs().max()))


def test_state_of_a_hybrid_dilated_as_the_authors_do():
    """CoT layers ignore it; SE-conv of a first block has the dilation of the stage before."""
    network = tiny("d", output_stride=8)
    assert [block.conv2.dilation for block in (network.layer3[0], network.layer4[0])] == [1, 1]
    assert network.layer3[1].conv2.conv.dilation == (2, 2)
    plain = CoTNet(HYBRID | dict(mixers="se", depths=(1, 1, 2, 2)), output_stride=8)
    found = [
        [block.conv2.conv.dilation[0] for block in getattr(plain, f"layer{i}")] for i in (3, 4)
    ]
    assert found == [[1, 2], [2, 4]]


def test_values_dilation_reaches_further():
    """One place of the map sees what is two places away, and not its neighbour."""
    options = dict(out_indices=(3,), output_stride=16, norm_eval=True, fusion="static")
    seen = {}
    for dilate in (False, True):
        block = tiny(dilate_mixer=dilate, **options).double().layer4[0].train(False)
        x = torch.randn(1, 64, 9, 9, dtype=torch.float64, requires_grad=True)
        block(x)[0, :, 4, 4].square().sum().backward()
        seen[dilate] = x.grad.abs().sum((0, 1)) > 0
    assert seen[False][3, 4] and not seen[False][2, 4]
    assert seen[True][2, 4] and not seen[True][3, 4]


@archs
def test_state_frozen_parts_do_not_change(name):
    network = tiny(name, frozen_stages=1).train()
    before = copy.deepcopy(network.state_dict())
    network(torch.randn(3, 3, 32, 32))[-1].square().mean().backward()
    trained = {key.split(".")[0] for key, p in network.named_parameters() if p.grad is not None}
    moved = {
        key.split(".")[0]
        for key, value in network.state_dict().items()
        if not torch.equal(value, before[key])
    }
    assert trained == moved == {"layer2", "layer3", "layer4"}
    assert not network.layer1.training and network.layer2.training


@pytest.mark.parametrize("frozen", [-1, 0, 2])
def test_state_frozen_stages_after_train(frozen):
    network = tiny(frozen_stages=frozen).eval().train()
    names = (["conv1", "bn1"] if frozen >= 0 else []) + [f"layer{i + 1}" for i in range(frozen)]
    for name, child in network.named_children():
        trainable = {p.requires_grad for p in child.parameters()}
        assert trainable <= {name not in names}, name
        if list(child.parameters()):
            assert child.training is (name not in names), name


def test_state_norm_eval_keeps_every_statistic():
    """Also those of the fusions, so that one image is enough."""
    network = tiny("d", norm_eval=True).train()
    before = copy.deepcopy(network.state_dict())
    network(torch.randn(1, 3, 32, 32))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert network.training and network.layer4[0].conv2.embed[4].training


def test_raises_one_image_in_training():
    with pytest.raises(ValueError, match="at least 2 images and got 1"):
        tiny()(torch.randn(1, 3, 64, 64))


@pytest.mark.parametrize("norm", ["BN", "SyncBN"])
@archs
def test_equivalence_recomputed_activations(name, norm):
    """Same maps, gradients and statistics; the first block's images need no gradient."""
    options = dict(drop_path_rate=0.3, norm_cfg=dict(type=norm))
    plain, sparing = tiny(name, **options), tiny(name, with_cp=True, **options)
    images = torch.randn(3, 3, 32, 32)
    for network in (plain, sparing):
        torch.manual_seed(1)
        network(images)[-1].square().sum().backward()
    for (key, a), (_, b) in zip(plain.named_parameters(), sparing.named_parameters(), strict=True):
        assert torch.equal(a.grad, b.grad), key
    for key, value in plain.state_dict().items():
        assert torch.equal(value, sparing.state_dict()[key]), key


def test_state_recomputation_keeps_no_inner_activations():
    kept = {}
    for with_cp in (False, True):
        network, sizes = tiny(with_cp=with_cp), []

        def count(tensor: torch.Tensor, sizes: list = sizes) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            network(torch.randn(3, 3, 64, 64))
        kept[with_cp] = sum(sizes)
    assert kept[True] < kept[False] / 3


@archs
def test_equivalence_copies_and_channels_last(name):
    network = tiny(name).double().eval()
    images = torch.randn(2, 3, 40, 33, dtype=torch.float64)
    expected = network(images)
    last = copy.deepcopy(network).to(memory_format=torch.channels_last)
    for other, x in (
        (pickle.loads(pickle.dumps(network)), images),
        (last, images.contiguous(memory_format=torch.channels_last)),
    ):
        for a, b in zip(other(x), expected, strict=True):
            torch.testing.assert_close(a, b)


@archs
def test_values_bfloat16_autocast_is_close(name):
    network = tiny(name).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        half = network(images)
    for a, b in zip(half, network(images), strict=True):
        # eight bits, in some thirty layers behind each other
        assert (a.float() - b).norm() < 0.06 * b.norm()


def test_equivalence_sync_bn_on_one_process_is_bn():
    plain, synced = tiny("d"), tiny("d", norm_cfg=dict(type="SyncBN"))
    norms = [m for m in synced.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert {type(norm) for norm in norms} == {nn.SyncBatchNorm}
    images = torch.randn(3, 3, 32, 32)
    for a, b in zip(plain(images), synced(images), strict=True):
        assert torch.equal(a, b)


def test_state_features_as_timm_says_them():
    network = tiny(out_indices=(1, 3))
    assert network.feature_info.channels() == network.out_channels == [32, 64]
    assert network.feature_info.reduction() == network.strides == [8, 32]
    assert network.feature_info.module_name() == ["layer2", "layer4"]
    view, regions = view_and_map(network.eval(), torch.zeros(2, 3, 64, 64))
    assert (view.shape, regions.shape) == ((2, 64), (2, 64, 2, 2))


def test_state_arguments_reach_their_layers():
    network = tiny(in_channels=5, norm_cfg=dict(type="BN", eps=0.25, requires_grad=False))
    assert network.conv1.in_channels == 5
    assert network.layer4[0].conv2.se[1].eps == 0.25
    assert not network.layer2[0].downsample[1].weight.requires_grad
    assert CoTNet(101).arch is ARCHS["101"]  # as a command line writes it
    assert MODELS.build(dict(type="mmssl.CoTNet", arch=COT)).out_channels == [64]
    keyed = tiny("sasa", out_indices=(0,)), CoTNet(dict(TINY["sasa"], key_kernel_size=3))
    assert [n.layer1[0].conv2.conv_k[0].kernel_size for n in keyed] == [(1, 1), (3, 3)]
    assert isinstance(CoTNet(COT, mixer="sasa").layer4[0].conv2, WindowedSelfAttention)
    lists = cotnet_arch(dict(depths=[1, 1], planes=[8, 8], mixers=["se", ["cot", "se"]]))
    assert hash(lists) and lists.stage_mixers(1) == ["cot"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(arch="51"), "one of 50, 101, x50.*got '51'"),
        (dict(arch=dict(depth=3)), "arch has no depth; its entries are depths"),
        (dict(arch=dict(depths=(1, 1))), "one entry for each stage"),
        (dict(arch=dict(mixers="cott")), "out of cot, coxt.*got cott"),
        (dict(arch=dict(stem="conv3")), "arch.stem"),
        (dict(mixer="lr"), "got lr"),
        (dict(arch=COT, out_indices=(4,)), "out_indices"),
        (dict(arch=COT, out_indices=(1, 0)), "ascending"),
        (dict(arch=COT, frozen_stages=5), "frozen_stages must lie between -1 and 4"),
        (dict(arch=COT, output_stride=2), r"one of \[4, 8, 16, 32\].*got 2"),
        (dict(arch=COT, output_stride=16, strides=(1, 2, 2, 1)), "not both"),
        (dict(arch=COT, strides=(1, 2, 3, 1)), "1 or 2, got 3"),
        (dict(arch=COT, strides=(1, 2)), "one entry for each stage"),
        (dict(arch=COT, fusion="mean"), "got 'mean'"),
        (dict(arch=TINY["conv"], fusion="gated"), "fusion must be one of se.*got 'gated'"),
        (dict(arch=dict(depths=3)), "arch.depths must have a positive number.*got 3"),
        (dict(arch=dict(COT, planes=(8, 8, 16, 0))), "arch.planes"),
        (dict(arch=COT, drop_path_rate=-0.2), "below 1, got -0.2"),
        (dict(arch=COT, drop_path_rate=1.0), "drop_path_rate"),
        (dict(arch=dict(COT, planes=(4,) * 4)), "A CoT layer of 4 channels"),
    ],
)
def test_raises(arguments, message):
    with pytest.raises(ValueError, match=message):
        CoTNet(**arguments)


def test_raises_one_number_for_a_sequence():
    for options in (dict(out_indices=1), dict(strides=2), dict(dilations=2)):
        with pytest.raises(TypeError, match=f"{next(iter(options))} must be a list or tuple"):
            CoTNet(COT, **options)


@pytest.mark.parametrize(
    ("options", "size"),
    [({}, (16, 32)), (dict(out_indices=(2,)), (32, 8)), (dict(output_stride=8), (32, 4))],
)
def test_raises_images_too_small_for_a_blur(options, size):
    """One more row or column is enough."""
    network = tiny("blur", **options).eval()
    with pytest.raises(
        ValueError, match=rf"more than {min(size)} pixels.*got {size[0]} x {size[1]}"
    ):
        network(torch.randn(1, 3, *size))
    assert network(torch.randn(1, 3, *(max(n, min(size) + 1) for n in size)))[-1].isfinite().all()
    assert tiny("d").eval()(torch.randn(1, 3, 5, 3))[-1].shape[2:] == (1, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(dilations=(1, 1, 1, 2)), "no effect without dilate_mixer"),
        (dict(dilate_mixer=True), "no stage is dilated"),
        (dict(mixer="sasa", fusion="sum"), "'sum' has no effect without a CoT layer"),
    ],
)
def test_raises_warnings_of_options_without_effect(options, message):
    with pytest.warns(UserWarning, match=message):
        tiny(**options)


def test_equivalence_exported():
    """torch.export, with a batch whose size is open."""
    network = tiny("d", out_indices=(2, 3)).eval()
    images = torch.randn(2, 3, 64, 64)
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(network, (images,), dynamic_shapes=({0: batch},))
    other = torch.randn(5, 3, 64, 64)
    for a, b in zip(program.module()(other), network(other), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("with_cp", [False, True])
def test_equivalence_compiled_training(with_cp):
    """One graph, also where activations are recomputed: same gradients, statistics updated once."""
    torch.compiler.reset()
    options = dict(arch=dict(COT, depths=(1, 1, 1, 1)), out_indices=(3,), zero_init_residual=False)
    plain = CoTNet(**options)
    network = CoTNet(**options, with_cp=with_cp)
    network.load_state_dict(plain.state_dict())
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    images = torch.randn(4, 3, 64, 64)
    for one in (plain, compiled):
        one(images)[-1].square().sum().backward()
    for a, b in zip(plain.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    for a, b in zip(plain.buffers(), network.buffers(), strict=True):
        torch.testing.assert_close(a, b)
