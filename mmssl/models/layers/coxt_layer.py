"""CoXtLayer: the grouped CoT layer of CoTNeXt.

"Contextual Transformer Networks for Visual Recognition" (Li et al. 2021, arXiv 2107.12292), section 3.3.
Compared with the authors' code (JDAI-CV/CoTNet), which moves the groups to the batch axis; here they are an
argument of the aggregation, the same in numbers.
"""

from __future__ import annotations

from mmssl.registry import MODELS

from .cot_layer import CoTLayer, Fusion


@MODELS.register_module()
class CoXtLayer(CoTLayer):
    """A `CoTLayer` with 8 groups in the keys, and 2 in the window's prediction, values and aggregation.

    Args:
        dim: Channels of input and output; 16 divides them.
        kernel_size: Side of the window, odd.
        key_groups: Groups of the convolution that makes the static context.
        inner_groups: Groups of the window's prediction, of the values and of the aggregation.
        share: Channels that share a weight.
        reduction: Input over hidden channels of the window's prediction, counted on `dim`.
        fusion: As in `CoTLayer`.
        dilation: Steps between the positions of a window.
        norm_cfg: Of all norms but that of the window, default `dict(type='BN')`.
        gn_cfg: Further options of the window's GroupNorm.
        init_cfg: Weight initialisation of the mm family.

    Raises:
        ValueError: As `CoTLayer`.
    """

    def __init__(
        self,
        dim: int,
        kernel_size: int = 3,
        *,
        key_groups: int = 8,
        inner_groups: int = 2,
        share: int = 8,
        reduction: int = 2,
        fusion: Fusion = "se",
        dilation: int = 1,
        norm_cfg: dict | None = None,
        gn_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(
            dim,
            kernel_size,
            key_groups=key_groups,
            share=share,
            reduction=reduction,
            fusion=fusion,
            dilation=dilation,
            inner_groups=inner_groups,
            norm_cfg=norm_cfg,
            gn_cfg=gn_cfg,
            init_cfg=init_cfg,
        )
