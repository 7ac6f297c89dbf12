"""One published recipe per method, on ImageNet but for Exemplar-CNN, for the tables of docs/side_by_side.md.

    python tools/side_by_side.py --page

Where an article has several, it is the one with ResNet-50 and the fewest epochs; methods for Transformers have Swin-T.
"""

recipes = {
    "Exemplar-CNN": "configs/exemplar/exemplar_resnet18_1xb128-coslr-150e_stl10.py",
    "NPID": "configs/npid/npid_resnet50_nce_4xb64-steplr-200e_in1k.py",
    "MoCo v1": "configs/moco/mocov1_resnet50_8xb32-steplr-200e_in1k.py",
    "MoCo v2": "configs/moco/mocov2_resnet50_8xb32-coslr-200e_in1k.py",
    "MoCo v3": "configs/mocov3/mocov3_resnet50_32xb128-coslr-100e_in1k.py",
    "MoCo v3, ViT-S": "configs/mocov3/mocov3_vit-small-p16_32xb128-coslr-300e_in1k.py",
    "SimCLR": "configs/simclr/simclr_resnet50_32xb128-coslr-100e_in1k.py",
    "SimCLR v2": "configs/simclr/simclr-v2_resnet50_32xb128-coslr-800e_in1k.py",
    "BYOL": "configs/byol/byol_resnet50_32xb128-coslr-100e_in1k.py",
    "SimSiam": "configs/simsiam/simsiam_resnet50_8xb64-coslr-100e_in1k.py",
    "SwAV": "configs/swav/swav_resnet50_64xb64-mcrop-2-6-coslr-100e_in1k.py",
    "DeepCluster-v2": "configs/deepclusterv2/deepclusterv2_resnet50_64xb64-mcrop-2-6-coslr-800e_in1k.py",
    "Barlow Twins": "configs/barlow_twins/barlow-twins_resnet50_32xb64-coslr-300e_in1k.py",
    "InfoMin": "configs/infomin/infomin_resnet50_8xb32-coslr-100e_in1k.py",
    "CLSA": "configs/clsa/clsa_resnet50_8xb32-coslr-200e_in1k.py",
    "CLSA, multi-crop": "configs/clsa/clsa_resnet50_8xb32-mcrop-5-5-coslr-200e_in1k.py",
    "PCL v1": "configs/pcl/pcl-v1_resnet50_8xb32-steplr-200e_in1k.py",
    "PCL v2": "configs/pcl/pcl-v2_resnet50_8xb32-coslr-200e_in1k.py",
    "HCSC": "configs/hcsc/hcsc_resnet50_8xb32-coslr-200e_in1k.py",
    "HCSC, multi-crop": "configs/hcsc/hcsc_resnet50_8xb32-coslr-200e_in1k_multi-crop.py",
    "PIC": "configs/pic/pic_resnet50_4xb64-coslr-200e_in1k.py",
    "DenseCL": "configs/densecl/densecl_resnet50_8xb32-coslr-200e_in1k.py",
    "PixContrast": "configs/pixcontrast/pixcontrast_resnet50_8xb128-coslr-100e_in1k.py",
    "PixPro": "configs/pixpro/pixpro_resnet50_8xb128-coslr-100e_in1k.py",
    "CARE, C-stream alone": "configs/care/care_resnet50_c-stream_8xb128-coslr-100e_in1k.py",
    "CARE": "configs/care/care_resnet50_8xb128-coslr-100e_in1k.py",
    "DINO": "configs/dino/dino_resnet50_8xb64-coslr-100e_in1k.py",
    "DINO, ViT-S": "configs/dino/dino_vit-small-p16_8xb64-coslr-100e_in1k.py",
    "DINO, Swin-T": "configs/dino/dino_swin-tiny-w7_16xb32-coslr-300e_in1k.py",
    "EsViT, Swin-T": "configs/esvit/esvit_swin-tiny-w7_16xb32-coslr-300e_in1k.py",
    "MoBY, Swin-T": "configs/moby/moby_swin-tiny-w7_8xb64-coslr-100e_in1k.py",
}
