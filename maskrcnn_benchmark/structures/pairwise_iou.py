"""IoU of every pair of boxes, by the original's operations in the original's order.

Convention: xyxy pixels, both ends included, so a box from 3 to 12 is 10 pixels wide.
"""

from collections.abc import Iterator

import torch

PAIR_BYTES = 24  # pairwise_iou holds up to six floats for each pair at once


def box_areas(boxes_xyxy: torch.Tensor) -> torch.Tensor:
    """Return the areas (...) of boxes (..., 4), both ends included."""
    x1, y1, x2, y2 = boxes_xyxy.unbind(dim=-1)
    return (x2 - x1 + 1) * (y2 - y1 + 1)


def pairwise_iou(boxes_a: torch.Tensor, boxes_b: torch.Tensor) -> torch.Tensor:
    """Return the IoU (..., N, M) of boxes (..., N, 4) and (..., M, 4).

    The operations and their order are the original's: another order gives other last bits, and
    then other ties and matches.
    """
    ax1, ay1, ax2, ay2 = boxes_a.unbind(dim=-1)
    bx1, by1, bx2, by2 = (ends.contiguous() for ends in boxes_b.unbind(dim=-1))
    inter = shared_length(ax1, ax2, bx1, bx2).mul_(shared_length(ay1, ay2, by1, by2))
    areas = box_areas(boxes_a)[..., :, None] + box_areas(boxes_b)[..., None, :]
    return inter / areas.sub_(inter)


def shared_length(
    a1: torch.Tensor, a2: torch.Tensor, b1: torch.Tensor, b2: torch.Tensor
) -> torch.Tensor:
    """Return how many pixels intervals (..., N) and (..., M) share, (..., N, M)."""
    near = torch.max(a1[..., :, None], b1[..., None, :])
    far = torch.min(a2[..., :, None], b2[..., None, :])
    return far.sub_(near).add_(1).clamp_(min=0)


def blocks(rows: int, columns: int, block_bytes: int, pair_bytes: int) -> Iterator[tuple]:
    """Cut a [rows, columns] matrix into blocks of bounded working memory.

    Args:
        rows, columns: shape of the matrix.
        block_bytes: working memory of one block.
        pair_bytes: working memory of one pair.

    Yields:
        (slice of rows, slice of columns).
    """
    pairs = max(1, block_bytes // pair_bytes)
    width = max(1, min(columns, pairs))
    height = max(1, min(rows, pairs // width))
    for top in range(0, rows, height):
        for left in range(0, columns, width):
            yield slice(top, top + height), slice(left, left + width)
