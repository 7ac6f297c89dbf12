"""What a segmenter trained from a self-supervised backbone needs beyond mmseg."""

custom_imports = dict(imports=["mmssl.downstream"], allow_failed_imports=False)
custom_hooks = [dict(type="mmssl.BackboneCheckpointHook")]
