"""PIC, ResNet-50, multi-crop, 200 epochs, softmax over the batch and the 65536 images seen last.

tools/dist_train.sh configs/pic/pic_resnet50_4xb64-coslr-200e_in1k_sampled.py 4

The article's recent negative sampling with its correction of rows that were not used, exact here; the
released code has neither. For millions of images: `model.head.shard=True` spreads the rows over the GPUs,
`model.head.storage=host` keeps those that no step needs in main memory.
"""

_base_ = "pic_resnet50_4xb64-coslr-200e_in1k.py"

model = dict(head=dict(num_negatives=65536))
custom_hooks = [dict(type="InstanceRowsHook")]
