"""Attention blocks for the `plugins` of mmdet's and mmseg's networks, loaded with `custom_imports`.

| `type`                               | from  | block                                               |
|--------------------------------------|-------|-----------------------------------------------------|
| `NonLocal2d`, `GeneralizedAttention` | mmcv  | non-local block, generalised attention              |
| `GCBlock`                            | here  | mmcv's ContextBlock, initialised right from scratch |
| `DNLBlock`                           | mmssl | disentangled non-local block                        |

All are in the root registry, where these libraries look.
`mmssl.ResNet` needs the import for GCBlock only, and starts a plain ContextBlock right as well.
"""

from __future__ import annotations

from mmcv.cnn import ContextBlock, GeneralizedAttention, NonLocal2d
from mmengine.registry import MODELS as ROOT_MODELS

from mmssl.models.layers.plugins import DNLBlock

__all__ = ["DNLBlock", "GCBlock", "GeneralizedAttention", "NonLocal2d"]


@ROOT_MODELS.register_module()
class GCBlock(ContextBlock):
    """Global context block that starts as the identity.

    Networks of the mm family initialise all their convolutions, and then the children that have
    `init_weights`. ContextBlock has none, so without a pretrained checkpoint its last convolution does not
    start at zero.
    """

    def init_weights(self) -> None:
        """Start as the constructor does."""
        self.reset_parameters()
