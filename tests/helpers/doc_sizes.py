"""What is added to commands of the documentation so that they take seconds; else they run as they stand."""

from __future__ import annotations

import re
from typing import NamedTuple


class Smaller(NamedTuple):
    """Commands that match `pattern` get `options` behind --cfg-options, and `arguments` at the end."""

    pattern: str
    options: tuple[str, ...] = ()
    arguments: str = ""


LOADER = ("train_dataloader.num_workers=0", "train_dataloader.persistent_workers=False")
CARE = (
    *LOADER,
    "train_dataloader.batch_size=8",
    "train_dataloader.dataset.views.views.0.transforms.0.size=64",
    "train_dataloader.dataset.views.views.1.transforms.0.size=64",
    "train_cfg.max_epochs=1",
    "param_scheduler.0.warmup=0",
    "optim_wrapper.type=OptimWrapper",
    "model.t_stream.fmap_size=4",
    "model.t_stream.num_blocks=1",
    "model.projector.hid_channels=64",
    "model.predictor.hid_channels=64",
    "default_hooks.report.num_images=1",
)
PRETRAINING_ON_SHAPES = (
    *LOADER,
    "train_dataloader.batch_size=40",
    "train_cfg.max_epochs=1",
    "custom_hooks.0.num_train=24",
    "custom_hooks.0.num_val=24",
    "default_hooks.report.num_images=1",
)
PLAIN_BYOL = (
    *LOADER,
    "train_dataloader.batch_size=8",
    "train_dataloader.dataset.views.views.0.transforms.0.size=64",
    "train_dataloader.dataset.views.views.1.transforms.0.size=64",
    "train_cfg.max_epochs=1",
    "param_scheduler.0.warmup=0",
    "default_hooks.report.num_images=1",
)
DENSECL = (
    *LOADER, "train_dataloader.batch_size=8", "train_cfg.max_epochs=1",
    "train_dataloader.dataset.views.views.0.transforms.0.size=64",
    "default_hooks.report.num_images=1",
)  # fmt: skip
FEW_SHAPES = (
    "--size 64 --num-unlabelled 120 --num-classify-train 240 --num-classify-val 48 "
    "--num-scenes-train 12 --num-scenes-val 4 --scene-size 64"
)
FEW_CLUSTERS = ("model.prototypes.num_clusters=[6,4,3]", "custom_hooks.1.begin_epoch=0")
CLASSIFIER = (*LOADER, "train_cfg.max_epochs=1", "val_dataloader.num_workers=0",
                        "val_dataloader.persistent_workers=False")  # fmt: skip
FEW_REGIONS = (
    "model.train_cfg.rcnn.sampler.num=8",
    "model.train_cfg.rpn_proposal.max_per_img=16",
    "model.test_cfg.rpn.max_per_img=16",
    "model.test_cfg.rcnn.max_per_img=8",
)
VALIDATION = ("val_dataloader.num_workers=0", "val_dataloader.persistent_workers=False")
COCO = (
    *LOADER, *VALIDATION, *FEW_REGIONS,
    "train_cfg.max_epochs=1",
    "train_dataloader.dataset.indices=2",
    "val_dataloader.dataset.indices=1",
    "val_dataloader.dataset.pipeline.1.scale=(96,96)",
)  # fmt: skip
COCO_RESNET = (
    *COCO, "train_dataloader.dataset.pipeline.2.scales=[(96,96)]", "custom_hooks.1.num_iters=1",
)  # fmt: skip
COCO_SWIN = (
    *COCO, "optim_wrapper.type=OptimWrapper",  # its own is for GPUs
    "train_dataloader.dataset.pipeline.3.transforms.0.0.scales=[(96,96)]",
    "train_dataloader.dataset.pipeline.3.transforms.1.0.scales=[(96,96)]",
    "train_dataloader.dataset.pipeline.3.transforms.1.2.scales=[(96,96)]",
)  # fmt: skip
SMALL_TEST = ("test_dataloader.num_workers=0", "test_dataloader.persistent_workers=False",
            "test_dataloader.dataset.pipeline.1.scale=(96,96)")  # fmt: skip
SEGMENTER = (
    *LOADER, *VALIDATION,
    "train_cfg.max_iters=1", "train_cfg.val_interval=1", "train_dataloader.batch_size=2",
    "model.data_preprocessor.size=(96,96)",
    "train_dataloader.dataset.pipeline.2.scale=(96,96)",
    "train_dataloader.dataset.pipeline.3.crop_size=(96,96)",
    "train_dataloader.dataset.pipeline.6.size=(96,96)",
    "val_dataloader.dataset.pipeline.1.scale=(96,96)",
)  # fmt: skip
ONE_ITERATION = (*LOADER, *VALIDATION, "train_cfg.max_iters=1", "train_cfg.val_interval=1",
                 "train_dataloader.batch_size=2")  # fmt: skip

ONE_WINDOW = (
    *("model.head.num_instances=120", "train_dataloader.sampler.window=80"),
    "train_dataloader.sampler.stride=40",
)

BENCHMARKS = {
    "step_overhead": "--iters 2 --twin-iters 1 --twin-size 64 --twin-batch 2 --batch 4",
    "input_pipeline": "--rounds 1 --images 2",
    "import_time": "--repeats 1 --limit 60",
    "distillation": "--repeats 1 --dim 8",
    "selection": "--repeats 1 --keys 512",
    "dense_contrast": "--repeats 1 --images 1 --keys 64",
    "pixel_loss": "--repeats 1 --images 1 --grids 4",
    "local_aggregation": "--repeats 1 --images 1",
    "local_relation": "--repeats 1 --images 1",
    r"instance_classifier\.py --ours": "--repeats 1 --images 100 --batch 4 --negatives 16",
    r"instance_classifier\.py --law": "--images 100 200 --batch 4 --negatives 16 --steps 1",
    "small_map_conv": "--repeats 1 --images 4",
    "kmeans": "--images 300 --dim 8 --clusters 6 3 --iterations 2",
    "throughput": "--batch 1 --warm-up 0 --forwards 1",
}

RULES = (
    Smaller(r"(train|view_signal)\.py (configs/care/care_resnet50_1xb64|parts_pretrain)", CARE),
    Smaller(r"train\.py plain_byol_folder", PLAIN_BYOL),
    Smaller(r"train\.py densecl_photos", DENSECL),
    Smaller(r"train\.py configs/(?!benchmarks)\w+/\S+_shapes\.py", PRETRAINING_ON_SHAPES),
    Smaller(r"train\.py configs/(hcsc|pcl)/", FEW_CLUSTERS),
    Smaller(r"train\.py configs/pic/", ONE_WINDOW),
    Smaller(r"train\.py configs/benchmarks/shapes_classification", CLASSIFIER),
    Smaller(r"train\.py labelled_finetune", CLASSIFIER),
    Smaller(r"train\.py configs/benchmarks/voc07_classification", CLASSIFIER),
    Smaller(r"train\.py configs/benchmarks/shapes_(detection|segmentation)", ONE_ITERATION),
    Smaller(r"train\.py configs/benchmarks/shapes_detection", ("custom_hooks.1.num_iters=1",)),
    Smaller(r"train\.py (backbone|parts_detector)\.py|coco_detection/mask-rcnn_r50", COCO_RESNET),
    Smaller(r"coco_detection/mask-rcnn_swin", COCO_SWIN),
    Smaller(r"train\.py parts_segmenter", SEGMENTER),
    Smaller(r"test\.py (configs/benchmarks/voc_segmentation|parts_)", SMALL_TEST),
    Smaller(r"_svm_", ("evaluation.svm.costs=[1.0]", "evaluation.svm.runs=1")),
    Smaller(r"svm_vissl", ("evaluation.svm.jobs=1",)),  # idle processes would be waited for
    Smaller(r"test\.py .*--train labelled", arguments="--size 64"),
    Smaller(r"imagenet_clustering|--num-clusters 50", arguments="--num-clusters 3"),
    Smaller(r"attention_maps\.py .*--mode stream", arguments="--size 64"),  # of the stream's map
    Smaller(r"attention_entropy\.py work_dirs", arguments="--size 64"),  # of the run's images
    Smaller(r"make_split\.py data/imagenet", arguments="--shares 0.25 0.5"),
    Smaller(r"make_shapes\.py", arguments=FEW_SHAPES),
    Smaller(r"prototype_scores\.py", arguments="--num-clusters 6 4 3"),
    Smaller(
        r"inference_time\.py",
        arguments="--batch 1 --runs 1 --warm-up 0 --size 64 --precision fp32",
    ),
    *(Smaller(f"benchmarks/{name}", arguments=more) for name, more in BENCHMARKS.items()),
)
"""In this order; later options of a command win."""


def made_small(line: str, words: list[str]) -> list[str]:
    """The words of a command with what makes it small; what the command says itself stays."""
    rules = [rule for rule in RULES if re.search(rule.pattern, line)]
    options = [option for rule in rules for option in rule.options]
    arguments = [word for rule in rules for word in rule.arguments.split()]
    if options and "--cfg-options" in words:
        place = words.index("--cfg-options") + 1
        words = [*words[:place], *options, *words[place:]]
    elif options:
        words = [*words, "--cfg-options", *options]
    return [*words, *arguments]
