"""Local relation (LR-Net): a window's pixels are mixed by how alike they are to its centre.

Local Relation Networks for Image Recognition, 2019, arXiv 1904.11491; compared with the authors' operator
(V2 branch; goldens `lr_*`), whose gradients for a stride of 2 with a dilation above 1 are wrong and differ
from these. `reference.py` is the formula.
"""

from __future__ import annotations

from torch import Tensor

from mmssl.ops.implementation import checked_implementation, refuse_tangents
from mmssl.ops.local_relation.operator import relate
from mmssl.ops.local_relation.reference import local_relation_reference
from mmssl.ops.local_relation.relation import Relation, check_relation
from mmssl.ops.local_relation.similarity import SIMILARITIES
from mmssl.ops.local_window import pair, whole_number

__all__ = ["SIMILARITIES", "local_relation"]


def local_relation(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    position_weight: Tensor,
    kernel_size: int | tuple[int, int],
    groups: int,
    stride: int | tuple[int, int] = 1,
    dilation: int | tuple[int, int] = 1,
    *,
    scale: float = 1.0,
    outside: float = -100.0,
    similarity: str = "neg_squared",
    implementation: str = "auto",
) -> Tensor:
    """Sum every neighbourhood of `value`, weighted by a softmax over it of similarity and prior.

    For an output position p, group g and tap t at position p_t = stride * p + dilation * (t - kernel // 2),

        l_t = scale * (sum_i f(query_i(p), key_i(p_t)) + e * saliency(p_t)) + position_weight[g, t]
        out_c(p) = sum_t softmax_t(l) * value_c(p_t)

    where i runs over the e = Cq / G channels of group g and c over its Cv / G, which are neighbours. A tap
    outside of the map has `outside` for its first term and the value 0. Keys with Ck > Cq channels hold a
    saliency for group g in channel Cq + floor(g (Ck - Cq) / G).

    Inputs may have different types: sums are in float32 at least, each gradient has the type of its tensor.
    The fast implementations keep the inputs, the result and one number for each window; weights are computed
    again in the backward pass, which computes only what is wanted. Second derivatives, derivatives in forward
    mode (`torch.func.jvp`) and `torch.func.grad`, `vjp` and `jacrev`, which torch refuses for operators
    of one's own, exist with "reference".

    Args:
        query: (N, Cq, Ho, Wo) at the places of the output, Ho = ceil(H / stride).
        key: (N, Ck, H, W) of at least Cq channels.
        value: (N, Cv, H, W) what is summed.
        position_weight: (G, kh, kw) prior of the taps.
        kernel_size: Taps, vertical and horizontal.
        groups: Blocks of channels with weights of their own.
        stride: Step between windows.
        dilation: Step between taps.
        scale: Factor on the similarity.
        outside: Logit of taps outside of the map, before the prior.
        similarity: f, one of `SIMILARITIES`.
        implementation: "reference" (the formula, all windows in memory), "shifted" (any device), "triton"
            (GPU), or "auto": the last of these that the device has, and the formula while a model is
            exported to ONNX.

    Returns:
        (N, Cv, Ho, Wo) in the type of `value`.

    Raises:
        NotImplementedError: A derivative in forward mode of another implementation than "reference".
        TypeError: A tensor is not floating-point.
        ValueError: Shapes, options or devices do not fit, or an unknown implementation.

    Example:
        >>> same = torch.zeros(1, 1, 3, 3)
        >>> local_relation(same, same, torch.ones(1, 8, 3, 3), torch.zeros(1, 3, 3), 3, 1)[0, 0]
        tensor([[1., 1., 1.],
                [1., 1., 1.],
                [1., 1., 1.]])
    """
    relation = Relation(
        pair(kernel_size, "kernel_size", least=1),
        whole_number(groups, "groups", least=1),
        pair(stride, "stride", least=1),
        pair(dilation, "dilation", least=1),
        float(scale),
        float(outside),
        similarity,
    )
    check_relation(query, key, value, position_weight, relation)
    implementation = checked_implementation(implementation, value)
    if implementation == "reference":
        return local_relation_reference(query, key, value, position_weight, relation)
    refuse_tangents("local_relation", query, key, value, position_weight)
    return relate(query, key, value, position_weight, *relation, implementation)[0]
