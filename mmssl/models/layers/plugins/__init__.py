"""Attention blocks that a ResNet takes as `plugins`, ours and those of mmcv."""

from __future__ import annotations

from .build import build_plugin, reset_plugin
from .dnl_block import DNLBlock

__all__ = ["DNLBlock", "build_plugin", "reset_plugin"]
