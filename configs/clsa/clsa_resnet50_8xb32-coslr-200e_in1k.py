"""CLSA, ResNet-50, one weak and one strong view, 200 epochs on ImageNet-1k. Published: 69.4 top-1 in linear evaluation.

Contrastive Learning with Stronger Augmentations (arXiv 2104.07713).

    tools/dist_train.sh configs/clsa/clsa_resnet50_8xb32-coslr-200e_in1k.py 8

8 GPUs x 32 images; MoCo v2 but for the strong view. Deviations: README.md of this folder.
"""

_base_ = ["../moco/mocov2_resnet50_8xb32-coslr-200e_in1k.py", "../_base_/views/clsa.py"]

model = dict(type="CLSA", num_weak_views=1, divergence_temperature=0.2, divergence_weight=1.0)
train_dataloader = dict(dataset=dict(views=dict(_delete_=True, **_base_.clsa_views)))
