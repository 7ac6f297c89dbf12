"""CARE: an attention stream beside the CNN's last stage teaches the CNN.

Revitalizing CNN Attentions via Transformers in Self-Supervised Visual Representation Learning,
2021, arXiv 2110.05340. Compared with the authors' PyTorch code (goldens `care_*`).

Deviations: the default position encoding is the learned relative one, the paper's best entry, whereas
the released code uses the learned absolute one (`t_stream.pos_enc='absolute'`). Where paper and code
differ otherwise, the code is followed; see configs/care/README.md.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmssl.losses import cosine_regression, guidance, unit_norm
from mmssl.losses.guidance import Reduction
from mmssl.models.momentum_twin import MomentumTwin
from mmssl.models.necks import AvgPool
from mmssl.ops.schedules import Cosine, Schedule
from mmssl.registry import MODELS, build_module
from mmssl.structures import ViewBatch

from .base import BaseAlgorithm

MOMENTUM = Cosine(0.99, 1.0)


@MODELS.register_module()
class CARE(BaseAlgorithm):
    """CNN attention revitalization.

    The C-stream is the CNN, its projector and predictor (BYOL); the T-stream a stack of attention blocks on
    an inner stage with a projector and predictor of its own. q, tq are the online embeddings of the two
    streams, k, tk the twin's of the other view, all of unit length:

        loss_c   = sum over both directions of mean (2 - 2 q.k)
        loss_t   = sum over both directions of mean (2 - 2 tq.tk)
        loss_att = lambda_att * [MSE(q1, sg tq1) + MSE(q2, sg tq2) + MSE(k1, tk1) + MSE(k2, tk2)]

    The last two terms carry no gradient; the released code adds them to the value it logs. `loss_t` also
    moves the backbone up to the input of the T-stream. Each of the four passes sees one view, with its
    own BatchNorm statistics, in the order student v1, v2, twin v2, v1; the twin runs in train mode.

    Args:
        backbone: Returns at least the maps of `t_stream.in_stage` and of the last stage.
        t_stream: An `AttentionStack`; `in_channels` and `out_channels` of a config may be left out: they
            follow the backbone. `None` trains the C-stream alone (BYOL with this recipe).
        projector: Config for both streams' projectors, (B, C) -> (B, D); `in_channels` may be left out,
            and `norm_cfg`, which then is BatchNorm.
        predictor: Config for both streams' predictors; `in_channels`, `out_channels` and `norm_cfg` may
            be left out.
        lambda_att: Weight of the guidance of the C-stream by the T-stream.
        att_reduction: `element` (released code) or `sample`; see `mmssl.losses.guidance`.
        detach_target: Stop the gradient of the guidance at the T-stream.
        log_teacher_att: Add the twin's terms to `loss_att`, as the released code does; no gradients.
        loss_weight_c: Weight of `loss_c`.
        loss_weight_t: Weight of `loss_t`.
        detach_t_input: Keep the gradient of `loss_t` out of the backbone.
        momentum: Momentum of the twin, a number or a schedule; default cosine 0.99 -> 1.
        average_buffers: Average the BatchNorm statistics of the twin too (not in the released code).
        data_preprocessor: Default `ViewPreprocessor()`.
        init_cfg: Weight initialisation of the mm family.

    Raises:
        ValueError: The backbone does not return the stage that the T-stream reads.
    """

    def __init__(
        self,
        backbone: nn.Module | dict,
        t_stream: nn.Module | dict | None,
        projector: dict,
        predictor: dict,
        *,
        lambda_att: float = 100.0,
        att_reduction: Reduction = "element",
        detach_target: bool = True,
        log_teacher_att: bool = True,
        loss_weight_c: float = 1.0,
        loss_weight_t: float = 1.0,
        detach_t_input: bool = False,
        momentum: Schedule | dict | float = MOMENTUM,
        average_buffers: bool = False,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(backbone, data_preprocessor, init_cfg)
        self.lambda_att = lambda_att
        self.att_reduction = att_reduction
        self.detach_target = detach_target
        self.log_teacher_att = log_teacher_att
        self.loss_weight_c = loss_weight_c
        self.loss_weight_t = loss_weight_t
        self.detach_t_input = detach_t_input
        self.pool = AvgPool()

        channels = self.backbone.out_channels
        self.t_stream = self._build_t_stream(t_stream, channels)
        self.projector_c = self._build_projector(projector, channels[-1])
        self.predictor_c = self._build_predictor(predictor, self.projector_c)
        self.projector_t = self.predictor_t = None
        if self.t_stream is not None:
            self.projector_t = self._build_projector(projector, self.t_stream.out_channels)
            self.predictor_t = self._build_predictor(predictor, self.projector_t)
        self.twin = MomentumTwin(
            self,
            ["backbone", "t_stream", "projector_c", "projector_t"],
            momentum=momentum,
            update_at="before_forward",
            average_buffers=average_buffers,
        )

    def _build_t_stream(
        self, t_stream: nn.Module | dict | None, channels: list[int]
    ) -> nn.Module | None:
        """Build the T-stream on the backbone's stage; remembers that stage's place in the outputs."""
        if t_stream is None:
            return None
        stages = list(getattr(self.backbone, "out_indices", range(len(channels))))
        in_stage = t_stream.get("in_stage", 2) if isinstance(t_stream, dict) else t_stream.in_stage
        if in_stage not in stages:
            raise ValueError(
                f"The T-stream reads backbone stage {in_stage} (t_stream.in_stage), but the backbone "
                f"returns stages {stages}; add it to backbone.out_indices."
            )
        self.t_position = stages.index(in_stage)
        read = channels[self.t_position]
        return build_module(MODELS, t_stream, in_channels=read, out_channels=channels[-1])

    @staticmethod
    def _build_projector(config: dict, in_channels: int) -> nn.Module:
        norm = dict(type="BN1d")
        return build_module(MODELS, config, type="MLPNeck", in_channels=in_channels, norm_cfg=norm)

    @staticmethod
    def _build_predictor(config: dict, projector: nn.Module) -> nn.Module:
        dim, norm = projector.out_channels, dict(type="BN1d")
        sizes = dict(in_channels=dim, out_channels=dim)
        return build_module(MODELS, config, type="MLPPredictor", norm_cfg=norm, **sizes)

    def project(self, net: nn.Module, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Projections (B, D) of both streams, by the online network (`self`) or by `self.twin`."""
        maps = net.backbone(images)
        c = net.projector_c(self.pool(maps[-1]))
        if self.t_stream is None:
            return c, None
        t_input = maps[self.t_position]
        if self.detach_t_input:
            t_input = t_input.detach()
        return c, net.projector_t(self.pool(net.t_stream(t_input)))

    def embed(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Unit embeddings (q, tq) of the online network, predictors included."""
        c, t = self.project(self, images)
        tq = None if t is None else unit_norm(self.predictor_t(t))
        return unit_norm(self.predictor_c(c)), tq

    @torch.no_grad()
    def twin_embed(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Unit embeddings (k, tk) of the twin."""
        c, t = self.project(self.twin, images)
        return unit_norm(c), None if t is None else unit_norm(t)

    def loss(self, views: ViewBatch) -> dict[str, Tensor]:
        """The three losses and diagnostics.

        Raises:
            ValueError: Not exactly two views.
        """
        view1, view2 = self.two_views(views)
        q1, tq1 = self.embed(view1)
        q2, tq2 = self.embed(view2)
        k1, tk1 = self.twin_embed(view2)
        k2, tk2 = self.twin_embed(view1)

        loss_c = cosine_regression(q1, k1) + cosine_regression(q2, k2)
        losses = dict(
            loss_c=self.loss_weight_c * loss_c,
            similarity_c=1 - loss_c.detach() / 4,
            embedding_std=q1.detach().std(dim=0, correction=0).mean(),
        )
        if self.t_stream is None:
            return losses
        loss_t = cosine_regression(tq1, tk1) + cosine_regression(tq2, tk2)
        pairs = [(q1, tq1), (q2, tq2)]
        loss_att = sum(
            guidance(q, tq.detach() if self.detach_target else tq, reduction=self.att_reduction)
            for q, tq in pairs
        )
        if self.log_teacher_att:
            loss_att = loss_att + sum(
                guidance(k, tk, reduction=self.att_reduction) for k, tk in [(k1, tk1), (k2, tk2)]
            )
        losses.update(
            loss_t=self.loss_weight_t * loss_t,
            loss_att=self.lambda_att * loss_att,
            similarity_t=1 - loss_t.detach() / 4,
            similarity_streams=(q1.detach() * tq1.detach()).sum(dim=1).mean(),
            embedding_std_t=tq1.detach().std(dim=0, correction=0).mean(),
        )
        return losses
