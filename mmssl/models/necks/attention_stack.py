"""AttentionStack: the T-stream of CARE, a stack of attention blocks on a feature map.

Revitalizing CNN Attentions via Transformers in Self-Supervised Visual Representation Learning,
2021, arXiv 2110.05340. Compared with the authors' PyTorch code (goldens `stack_*`, `tstream_full_*`).
"""

from __future__ import annotations

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmssl.models.layers import AttentionBlock
from mmssl.models.layers.position_encoding import PositionKind
from mmssl.registry import MODELS


@MODELS.register_module()
class AttentionStack(BaseModule):
    """Attention blocks in sequence; the first one may halve the map and changes the channels.

    Args:
        in_channels: Channels of the input map.
        out_channels: Channels of the output map.
        fmap_size: Cells of the input map, one number or (H, W): crop size / stride of the stage.
        in_stage: Stage of the backbone (0-3) whose map is the input; read by the algorithm.
        num_blocks: Blocks.
        num_heads: Attention heads of every block.
        head_dim: Channels of a head.
        proj_factor: `out_channels // proj_factor` channels enter the attention.
        downsample: Halve the map in the first block.
        ceil_mode: Allow odd maps when halving, rounded up (ours; the official code fails).
        pos_enc: `relative` (the paper's best), `absolute` (the released code), `sincos` or `none`.
        norm_cfg: Norm of the blocks, default `dict(type='BN')`: not synchronised, as released.
        zero_init_last_gamma: Start the last norm weight of every block at 0.
        init_cfg: Weight initialisation of the mm family.

    Raises:
        ValueError: Arguments that do not fit together.

    Example:
        >>> import torch
        >>> stack = AttentionStack(8, 16, fmap_size=(4, 6), num_blocks=2, num_heads=2, head_dim=4)
        >>> stack(torch.zeros(2, 8, 4, 6)).shape
        torch.Size([2, 16, 2, 3])
    """

    def __init__(
        self,
        in_channels: int = 1024,
        out_channels: int = 2048,
        *,
        fmap_size: int | tuple[int, int] = 14,
        in_stage: int = 2,
        num_blocks: int = 5,
        num_heads: int = 4,
        head_dim: int = 128,
        proj_factor: int = 4,
        downsample: bool = True,
        ceil_mode: bool = False,
        pos_enc: PositionKind = "relative",
        norm_cfg: dict | None = None,
        zero_init_last_gamma: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if num_blocks < 1:
            raise ValueError(
                f"num_blocks must be at least 1, got {num_blocks}; use t_stream=None for no T-stream."
            )
        height, width = (fmap_size, fmap_size) if isinstance(fmap_size, int) else fmap_size
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.fmap_size = (height, width)
        self.in_stage = in_stage
        self.pos_enc = pos_enc
        size, channels = self.fmap_size, in_channels
        blocks = []
        for index in range(num_blocks):
            halve = downsample and index == 0
            blocks.append(
                AttentionBlock(
                    channels,
                    out_channels,
                    size,
                    proj_factor=proj_factor,
                    num_heads=num_heads,
                    head_dim=head_dim,
                    downsample=halve,
                    ceil_mode=ceil_mode,
                    pos_enc=pos_enc,
                    norm_cfg=norm_cfg,
                    zero_init_last_gamma=zero_init_last_gamma,
                )
            )
            channels = out_channels
            if halve:
                size = ((size[0] + 1) // 2, (size[1] + 1) // 2)
        self.blocks = nn.Sequential(*blocks)

    def forward(self, feats: Tensor) -> Tensor:
        """Run the blocks.

        Args:
            feats: (B, in_channels, H, W) map with (H, W) = fmap_size.

        Returns:
            (B, out_channels, H', W') map.

        Raises:
            ValueError: Another number of channels or cells than the stack was built for.
        """
        if feats.shape[1] != self.in_channels:
            raise ValueError(
                f"The T-stream takes {self.in_channels} channels, got {feats.shape[1]}: in_channels "
                f"must equal the channels of backbone stage {self.in_stage}."
            )
        if tuple(feats.shape[2:]) != self.fmap_size:
            raise ValueError(
                f"The T-stream was built for maps of {self.fmap_size[0]}x{self.fmap_size[1]} cells, "
                f"got {feats.shape[2]}x{feats.shape[3]}. Set t_stream.fmap_size to the crop size divided "
                f"by the stride of stage {self.in_stage} (224 px / 16 = 14)."
            )
        return self.blocks(feats)
