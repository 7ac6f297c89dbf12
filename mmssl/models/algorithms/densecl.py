"""DenseCL: MoCo v2 whose views and whose single locations are both told from those of other images.

Dense Contrastive Learning for Self-Supervised Visual Pre-Training, 2021, arXiv 2011.09157.
Compared with WXinlong/DenseCL (goldens `densecl_given_features`, `densecl_grid_same_size_c`,
`densecl_r50_b`).

Deviations: a batch of any size goes into the queues (theirs must divide their length); with a grid the
features that cells are matched by are pooled too (theirs only works if the map has that size); on one
process nothing is shuffled (there it changes the rounding only); matching and contrasts are float32 under
autocast.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmssl.losses import best_cells, chunked_info_nce, info_nce, unit_norm
from mmssl.models.memories import FeatureQueue
from mmssl.models.momentum_twin import MomentumTwin
from mmssl.models.necks import DenseEmbeddings
from mmssl.ops.collectives import through_shuffled_batch
from mmssl.ops.schedules import Schedule, build_schedule
from mmssl.registry import MODELS, build_module
from mmssl.structures import ViewBatch

from .base import BaseAlgorithm


@MODELS.register_module()
class DenseCL(BaseAlgorithm):
    """Dense contrastive learning.

        match(i) = argmax_j cos(map(view 0)_i, map of the twin (view 1)_j)     cells of one image
        loss = (1 - w) info_nce(q, k, queue) + w mean_i info_nce(Q_i, K_match(i), dense_queue)

    q and Q are the embeddings of view 0 and of its cells, k and K the twin's of view 1, all of unit length.
    Then k goes into the queue and the mean of K, of unit length too, into the dense queue: negatives of a
    cell are means over other images. BatchNorm is each process's own; the twin sees the views of all
    processes shuffled.

    Args:
        backbone: Returns feature maps; the last one is used.
        neck: `DenseCLNeck`. A config may leave out `type` and `in_channels`.
        queue_length: K, keys in each of the two queues.
        temperature: Of both contrasts.
        dense_weight: w, a number or a schedule of the iteration. Published: 0.5. Near 1 the released code's
            author advises `Switched(0.0, w, at=10000)`: cells are matched at random before the map means
            something.
        momentum: Of the twin, a number or a schedule.
        max_logits: Logits of cells that are held at a time.
        data_preprocessor: Default `ViewPreprocessor()`.
        init_cfg: Weight initialisation of the mm family.

    Raises:
        ValueError: A temperature that is not positive.
    """

    def __init__(
        self,
        backbone: nn.Module | dict,
        neck: nn.Module | dict,
        *,
        queue_length: int = 65536,
        temperature: float = 0.2,
        dense_weight: Schedule | dict | float = 0.5,
        momentum: Schedule | dict | float = 0.999,
        max_logits: int = 2**24,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(backbone, data_preprocessor, init_cfg)
        if temperature <= 0:
            raise ValueError(f"DenseCL.temperature must be above 0, got {temperature}.")
        channels = self.backbone.out_channels[-1]
        self.neck = build_module(MODELS, neck, type="mmssl.DenseCLNeck", in_channels=channels)
        self.temperature = temperature
        self.dense_weight = build_schedule(dense_weight)
        self.max_logits = max_logits
        self.twin = MomentumTwin(
            self, ["backbone", "neck"], momentum=momentum, update_at="before_forward"
        )
        self.queue = FeatureQueue(queue_length, self.neck.out_channels)
        self.dense_queue = FeatureQueue(queue_length, self.neck.out_channels)

    def embed(self, net: nn.Module, images: Tensor) -> DenseEmbeddings:
        """Embeddings of `images` by the online network (`self`) or by `self.twin`, of unit length."""
        found = net.neck(net.backbone(images))
        return found._replace(
            view=unit_norm(found.view),
            cells=unit_norm(found.cells),
            mean_cell=unit_norm(found.mean_cell),
        )

    def loss(self, views: ViewBatch) -> dict[str, Tensor]:
        """Both weighted contrastive losses, and diagnostics; then the keys go into the queues.

        Raises:
            ValueError: Not exactly two views.
        """
        queries, others = self.two_views(views)
        q = self.embed(self, queries)
        k = through_shuffled_batch(lambda images: self.embed(self.twin, images), others)
        match = best_cells(q.features, k.features)
        cells, partners = cell_pairs(q.cells, k.cells, match)
        # the backward pass of the first needs its queue as it is now
        of_views = info_nce(
            q.view, k.view, self.queue.features.clone(), temperature=self.temperature
        )
        of_cells = chunked_info_nce(
            cells,
            partners,
            self.dense_queue.features,
            temperature=self.temperature,
            max_logits=self.max_logits,
        )
        weight = self.dense_weight(self.progress.iter, self.progress.max_iters)
        self.queue.enqueue(k.view)
        self.dense_queue.enqueue(k.mean_cell)
        with torch.no_grad():
            similarity = (q.view * k.view).sum(dim=1).mean()
            cell_similarity = (cells * partners).sum(dim=1).mean()
            spread = q.view.std(dim=0, correction=0).mean()
        return dict(
            loss_view=(1 - weight) * of_views,
            loss_dense=weight * of_cells,
            similarity=similarity,
            cell_similarity=cell_similarity,
            embedding_std=spread,
        )


def cell_pairs(queries: Tensor, keys: Tensor, match: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of query cells and of the key cells that they are matched with.

    Args:
        queries: (N, D, P) embeddings of query cells.
        keys: (N, D, Q) embeddings of key cells.
        match: (N, P) int64 cells of `keys`.

    Returns:
        (N P, D) queries, image by image, and (N P, D) keys.
    """
    partners = keys.gather(2, match[:, None].expand(-1, keys.shape[1], -1))
    return queries.transpose(1, 2).flatten(0, 1), partners.transpose(1, 2).flatten(0, 1)
