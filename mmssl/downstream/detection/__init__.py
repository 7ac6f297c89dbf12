"""What mmdet lacks for the transfer protocols of the field; needs mmdet and mmcv."""

from __future__ import annotations

from mmssl.downstream.detection.res_layer_extra_norm import ResLayerExtraNorm
from mmssl.downstream.detection.voc_detection import VOCDetection

__all__ = ["ResLayerExtraNorm", "VOCDetection"]
