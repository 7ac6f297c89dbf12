"""COCO training pipeline with the short side drawn from 640 to 800, as detectron2 does."""

coco_multiscale = [
    dict(type="LoadImageFromFile", backend_args=None),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(
        type="RandomChoiceResize",
        scales=[(1333, 640), (1333, 672), (1333, 704), (1333, 736), (1333, 768), (1333, 800)],
        keep_ratio=True,
    ),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
# for detectors without masks
coco_multiscale_boxes = [
    coco_multiscale[0],
    dict(type="LoadAnnotations", with_bbox=True),
    *coco_multiscale[2:],
]
