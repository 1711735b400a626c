"""Detections of an image's tiles become detections of the image.

What is suppressed is only what another tile found, too. Within a tile the model has suppressed its
own repetitions, and what it left are neighbours: lorries parked askew overlap much as upright
boxes. By falling score, a detection is dropped if its IoU with a kept one of another tile and of
its own class is greater than the threshold.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from maskrcnn_benchmark.dota.detections import Detections
from maskrcnn_benchmark.structures.oriented_boxes import oriented_nms
from maskrcnn_benchmark.structures.suppression import suppress

__all__ = ["Detections", "merge_tiles", "upright_nms_between"]


def merge_tiles(tiles: Sequence[Detections], nms_hbb: float, nms_obb: float) -> Detections:
    """Join what overlapping tiles found and suppress, class by class, what was found twice.

    Upright boxes are suppressed by their IoU for the horizontal task, and corners by that of the
    polygons for the oriented one. What neither task keeps is dropped. Memory grows with N, not
    N * N.

    Args:
        tiles: in the pixels of the whole image (`Detections.moved`); one without detections may
            lack the corners that the others have.
        nms_hbb: boxes of two tiles with a greater IoU (with `+1`) than this are the same object.
        nms_obb: corners of two tiles with a greater polygon IoU than this are the same object.

    Returns:
        detections by falling score.

    Raises:
        ValueError: some tiles have corners and others not.
    """
    found = _concatenate(tiles)
    order = np.argsort(-found.scores, kind="stable")
    found = found.select(order)
    tile = np.repeat(np.arange(len(tiles)), [len(part) for part in tiles])[order]
    # with +1 on the far side, plain areas are those of BoxList's convention
    edges = found.boxes_xyxy + np.array([0, 0, 1, 1])
    upright = _mask(upright_nms_between(tile, edges, found.scores, nms_hbb, found.labels), found)
    if found.corners is None:
        return found.select(upright)
    kept = oriented_nms(found.corners, found.scores, nms_obb, found.labels, tile)
    found.in_task1, found.in_task2 = _mask(kept, found), upright
    return found.select(found.in_task1 | found.in_task2)


def upright_nms_between(
    tiles: np.ndarray,
    edges: np.ndarray,
    scores: np.ndarray,
    iou_threshold: float,
    labels: np.ndarray | None = None,
) -> np.ndarray:
    """Suppress upright boxes as `oriented_nms` does polygons, between tiles only.

    Args:
        tiles: (N,) integers.
        edges: (N, 4) x1 y1 x2 y2, pixels, plain areas.
        scores: (N,); boxes of equal score keep their order.
        iou_threshold: a box is dropped if its IoU with a kept box of higher score is above this.
        labels: (N,) integers; None: all are of one class.

    Returns:
        (K,) int64: indices of the kept boxes by falling score.
    """
    order = np.argsort(-scores, kind="stable")
    boxes = torch.from_numpy(np.asarray(edges, dtype=np.float64)[order])
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)

    def is_duplicate(first: Tensor, second: Tensor) -> Tensor:
        low = torch.maximum(boxes[first, :2], boxes[second, :2])
        shared = (torch.minimum(boxes[first, 2:], boxes[second, 2:]) - low).prod(dim=1)
        return shared / (areas[first] + areas[second] - shared) > iou_threshold

    groups = None if labels is None else torch.from_numpy(labels[order])
    return order[suppress(boxes, is_duplicate, groups, torch.from_numpy(tiles[order])).numpy()]


def _mask(kept: np.ndarray, found: Detections) -> np.ndarray:
    mask = np.zeros(len(found), dtype=bool)
    mask[kept] = True
    return mask


def _concatenate(tiles: Sequence[Detections]) -> Detections:
    if not tiles:
        return Detections.empty()
    corners = [tile.corners for tile in tiles if tile.corners is not None]
    if corners and sum(map(len, corners)) != sum(map(len, tiles)):
        raise ValueError("expected corners in all tiles or in none, got some with and some without")
    return Detections(
        np.concatenate([tile.boxes_xyxy for tile in tiles]),
        np.concatenate([tile.scores for tile in tiles]),
        np.concatenate([tile.labels for tile in tiles]),
        np.concatenate(corners) if corners else None,
    )
