"""What a detector trained from a self-supervised backbone needs beyond mmdet."""

custom_imports = dict(imports=["mmssl.downstream.detection"], allow_failed_imports=False)
custom_hooks = [
    dict(type="mmssl.BackboneCheckpointHook"),
    dict(type="mmssl.PreciseBNHook", num_iters=200),
]
