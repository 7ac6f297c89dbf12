"""SimCLR on CIFAR-10, ResNet-18, 1000 epochs. Published: about 91 top-1 in linear evaluation (readme).

    python tools/train.py configs/simclr/simclr_resnet18_1xb512-coslr-1000e_cifar10.py

The command of v1's readme: batch 512, LARS with a rate of 1.0 x batch / 256, temperature 0.5, colours of half the
strength, no blur, the head of three layers that its code has by default. `data/cifar10/train` and `data/cifar10/test`
hold a folder of images for each class, which the k-NN hook alone looks at.
"""

_base_ = "simclr_resnet50_32xb128-coslr-100e_in1k.py"

model = dict(
    backbone=dict(depth=18, stem="cifar"),
    neck=dict(num_layers=3, hid_channels=512),
    temperature=0.5,
)
train_dataloader = dict(
    batch_size=512,
    dataset=dict(root="data/cifar10/train", views=dict(_delete_=True, **_base_.simclr_cifar_views)),
)
optim_wrapper = dict(optimizer=dict(lr=2.0, weight_decay=1e-4))
train_cfg = dict(max_epochs=1000)
auto_scale_lr = dict(base_batch_size=512)
whole_view = dict(
    type="MultiView",
    boxes=None,
    views=[dict(num=1, transforms=[dict(type="Resize", size=[32, 32])])],
)
custom_hooks = [
    dict(
        type="KNNHook",
        train=dict(type="ImageFolder", root="data/cifar10/train", labels=True, views=whole_view),
        val=dict(type="ImageFolder", root="data/cifar10/test", labels=True, views=whole_view),
        branch="online",
        interval=50,
        k=200,
    )
]
