"""Detections of an image's tiles become detections of the image."""

from collections.abc import Sequence

import numpy as np
import torch

from maskrcnn_benchmark.dota.detections import Detections
from maskrcnn_benchmark.layers.nms import nms_per_group
from maskrcnn_benchmark.structures.oriented_boxes import oriented_nms

__all__ = ["Detections", "merge_tiles"]


def merge_tiles(tiles: Sequence[Detections], nms_hbb: float, nms_obb: float) -> Detections:
    """Join what overlapping tiles found and suppress, class by class, what was found twice.

    Upright boxes are suppressed by their IoU for the horizontal task, and corners by that of the
    polygons for the oriented one: lorries parked askew side by side overlap much as upright boxes
    and not at all as polygons. What neither task keeps is dropped. Memory grows with N, not N * N.

    Args:
        tiles: in the pixels of the whole image (`Detections.moved`); one without detections may
            lack the corners that the others have.
        nms_hbb: boxes with a greater IoU (with `+1`) than this are the same object.
        nms_obb: corners with a greater polygon IoU than this are the same object.

    Returns:
        detections by falling score.

    Raises:
        ValueError: some tiles have corners and others not.
    """
    found = _concatenate(tiles)
    found = found.select(np.argsort(-found.scores, kind="stable"))
    # with +1 on the far side, torchvision's plain areas are those of BoxList's convention
    edges = torch.from_numpy(found.boxes_xyxy + np.array([0, 0, 1, 1]))
    scores, labels = torch.from_numpy(found.scores), torch.from_numpy(found.labels)
    upright = _mask(nms_per_group(edges, scores, labels, nms_hbb), len(found))
    if found.corners is None:
        return found.select(upright)
    kept = oriented_nms(torch.from_numpy(found.corners), scores, nms_obb, groups=labels)
    found.in_task1, found.in_task2 = _mask(kept, len(found)), upright
    return found.select(found.in_task1 | found.in_task2)


def _mask(kept: torch.Tensor, count: int) -> np.ndarray:
    mask = np.zeros(count, dtype=bool)
    mask[kept.numpy()] = True
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
