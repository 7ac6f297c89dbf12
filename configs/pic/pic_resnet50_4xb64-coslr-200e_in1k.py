"""PIC, ResNet-50, multi-crop, 200 epochs on ImageNet-1k: the published setting, with a window that slides.

Parametric Instance Classification (arXiv 2006.14618; the authors' readme): 68.6 top-1 in linear evaluation.

    tools/dist_train.sh configs/pic/pic_resnet50_4xb64-coslr-200e_in1k.py 4

4 GPUs x 64 images. Epochs count passes over the images; the run walks in 1955 windows of 131072 images (512
iterations), and saves a checkpoint every 10. Deviations: README.md of this folder.
"""

_base_ = [
    "../_base_/datasets/imagenet.py",
    "../_base_/views/pic.py",
    "../_base_/schedules/sgd_warmup_cosine.py",
    "../_base_/default_runtime.py",
]

model = dict(
    type="PIC",
    backbone=dict(type="ResNet", depth=50, out_indices=(3,), zero_init_residual=True),
    neck=dict(type="MLPNeck", hid_channels=2048, out_channels=128),
    head=dict(type="InstanceClassifier", num_instances=1281167, temperature=0.2),
    data_preprocessor=_base_.data_preprocessor,
)
train_dataloader = dict(
    batch_size=64,
    sampler=dict(_delete_=True, type="SlidingWindowSampler", window=131072, stride=16384),
    dataset=dict(views=_base_.pic_views),
)
# for batches of 256; every parameter is decayed, norms, biases and class weights too
optim_wrapper = dict(optimizer=dict(lr=0.03, weight_decay=1e-4))
param_scheduler = [
    dict(
        type="WarmupCosineLR", warmup=5, start_ratio=0.01, eta_min=1e-6, convert_to_iter_based=True
    )
]
train_cfg = dict(type="WindowLoop", max_epochs=200)
auto_scale_lr = dict(base_batch_size=256)
