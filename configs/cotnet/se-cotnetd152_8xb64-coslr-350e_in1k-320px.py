"""SE-CoTNetD-152 at 320 px (SE-CoTNetD-152_L): CoTNet's advanced setup, 350 epochs.

CoTNet (arXiv 2107.12292; JDAI-CV/CoTNet), published top-1 / top-5: 84.6 / 97.1. No configuration of it was released:
that of 256 px with larger images.

    tools/dist_train.sh configs/cotnet/se-cotnetd152_8xb64-coslr-350e_in1k-320px.py 8
"""

_base_ = "se-cotnetd152_8xb64-coslr-350e_in1k-256px.py"

train_dataloader = dict(dataset=dict(views=_base_.rand_augment_320))
val_dataloader = dict(dataset=dict(views=_base_.centre_320))
