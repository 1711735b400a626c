"""Choosing the best boxes in exported graphs, without numbers of Python that depend on the data."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._higher_order_ops.scan import scan

from maskrcnn_benchmark.layers.nms import nms as plain_nms
from maskrcnn_benchmark.structures.oriented_boxes import shared_areas, signed_areas
from maskrcnn_benchmark.structures.rotated_boxes import corners_to_edges


def padded_best(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the best scores [count] and their indices, best first.

    What lacks is filled up with -inf and indices beyond the scores.
    """
    return F.pad(scores, (0, count), value=-torch.inf).topk(count)


def best(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the `count` best scores [K] and their indices, best first; K is smaller if need be."""
    values, index = padded_best(scores, count)
    there = (values > -torch.inf).nonzero().squeeze(1)
    return values[there], index[there]


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Suppress as `layers.nms` does.

    Boxes whose sides are swapped by a rounding, as clipping at the border leaves them, suppress
    nothing and stay there. ONNX's operator would swap them back; without area it passes them over.
    """
    corner = boxes[:, :2]
    return plain_nms(
        torch.cat([corner, boxes[:, 2:].maximum(corner)], dim=1), scores, iou_threshold
    )


def nms_per_class(
    boxes: Tensor, scores: Tensor, score_thresh: float, iou_threshold: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the (box, class) pairs above a score that suppression leaves, class by class.

    Args:
        boxes: [P, classes, 4] xyxy.
        scores: [P, classes]; class 0 is the background.
        score_thresh, iou_threshold: a pair needs a higher score, and is dropped if its IoU with a
            better one of its class is higher.

    Returns:
        rows into P, labels and scores, each [K].
    """
    rows, labels = [], []
    for label in range(1, scores.shape[1]):
        above = (scores[:, label] > score_thresh).nonzero().squeeze(1)
        kept = above[nms(boxes[above, label], scores[above, label], iou_threshold)]
        rows.append(kept)
        labels.append(torch.full_like(kept, label))
    row, label = torch.cat(rows), torch.cat(labels)
    return row, label, scores[row, label]


def oriented_nms_per_class(corners: Tensor, labels: Tensor, iou_threshold: float) -> Tensor:
    """Return the indices of the quadrilaterals that suppression leaves, in their order.

    Args:
        corners: [K, 4, 2], best first; K is a number that the graph knows. A matrix of K x K bits
            is made.
        labels: [K]; only boxes of one class suppress each other. Below 0: there is no box.
        iou_threshold: a box is dropped if its IoU with a better kept one is higher.
    """
    corners = corners.double()
    x1, y1, x2, y2 = corners_to_edges(corners).unbind(1)
    rank = torch.arange(labels.shape[0], device=labels.device)
    meets = (labels[:, None] == labels) & (rank[:, None] < rank) & (labels >= 0)
    meets &= (x1[:, None] < x2) & (x1 < x2[:, None]) & (y1[:, None] < y2) & (y1 < y2[:, None])
    first, second = meets.nonzero(as_tuple=True)
    repeats = _iou_of_pairs(corners[first], corners[second]) > iou_threshold
    suppresses = torch.zeros_like(meets).index_put((first, second), repeats)

    def step(alive: Tensor, row: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        index, suppressed = row
        is_kept = alive.gather(0, index[None])
        return alive & ~(suppressed & is_kept), is_kept

    _, kept = scan(step, torch.ones_like(labels, dtype=torch.bool), (rank, suppresses))
    return (kept.squeeze(1) & (labels >= 0)).nonzero().squeeze(1)


def _iou_of_pairs(corners: Tensor, others: Tensor) -> Tensor:
    """Return the IoU (P,) of quadrilaterals [P, 4, 2] of the same sense of rotation."""
    origin = corners[:, :1]  # large coordinates would cost digits
    shared = shared_areas(corners - origin, others - origin).abs()
    union = signed_areas(corners).abs() + signed_areas(others).abs() - shared
    return torch.where(union > 0, shared / union, 0.0)
