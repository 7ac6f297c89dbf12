"""What mmdet and mmseg lack for a fair transfer of self-supervised backbones.

Transfer configs load this package with `custom_imports`; nothing else imports it. The hooks need
mmengine only, so configs of mmseg work without mmdet; what needs mmdet is in
`mmssl.downstream.detection`.
"""

from __future__ import annotations

from mmssl.downstream.backbone_checkpoint_hook import BackboneCheckpointHook
from mmssl.downstream.precise_bn_hook import PreciseBNHook

__all__ = ["BackboneCheckpointHook", "PreciseBNHook"]
