"""Hooks of an evaluation that trains a classifier: labels checked, best and last epoch kept and reported."""

_base_ = "../../_base_/default_runtime.py"

default_hooks = dict(
    class_check=dict(type="ClassCheckHook"),
    best_epoch=dict(type="BestEpochHook", metric="accuracy/top1"),
    checkpoint=dict(max_keep_ckpts=1, save_best="accuracy/top1", rule="greater"),
    collapse=None,  # features of a finished pretraining are not watched
)
