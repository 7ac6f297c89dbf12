"""The training images of ImageNet-1k in class folders; labels serve evaluation only."""

_base_ = "./image_folder.py"

train_dataloader = dict(num_workers=8, dataset=dict(root="data/imagenet/train"))
