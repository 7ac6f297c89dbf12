"""Exemplar-CNN's task, ResNet-18, on the drawn images of Shapes: 1000 steps of 32 images, one view of 64 px each.

    python tools/make_shapes.py data/shapes
    python tools/train.py configs/exemplar/exemplar_resnet18_1xb32-coslr-8e_shapes.py

Every image is a seed. The recipe is that of PIC there, views too, but for the classifier and the windows. With the
article's transformations k-NN accuracy stays that of the untrained network (README).
"""

_base_ = "../pic/pic_resnet18_1xb32-coslr-8e_shapes.py"

model = dict(head=dict(cosine=False, temperature=1.0))
train_dataloader = dict(sampler=dict(_delete_=True, type="CounterSampler", shuffle=True))
train_cfg = dict(_delete_=True, type="EpochLoop", max_epochs=8)
