"""Detections of an image's tiles become detections of the image."""

from collections.abc import Sequence

import numpy as np
import torch
from torchvision.ops import nms

from maskrcnn_benchmark.dota.detections import Detections
from maskrcnn_benchmark.structures.oriented_boxes import oriented_nms

__all__ = ["Detections", "merge_tiles"]


def merge_tiles(tiles: Sequence[Detections], nms_hbb: float, nms_obb: float) -> Detections:
    """Join what overlapping tiles found and suppress, class by class, what was found twice.

    Boxes are suppressed by their IoU first. Where there are corners, oriented suppression then
    says which of the rest are results of the oriented task (`in_task1`): it is stricter as a rule
    and would cost the horizontal task true neighbours. Memory grows with N, not with N * N.

    Args:
        tiles: in the pixels of the whole image (`Detections.moved`); one without detections may
            lack the corners that the others have.
        nms_hbb: boxes with a greater IoU (with `+1`) than this are the same object.
        nms_obb: corners with a greater polygon IoU than this are the same object.

    Returns:
        Detections by falling score.

    Raises:
        ValueError: some tiles have corners and others not.
    """
    found = _concatenate(tiles)
    found = found.select(np.argsort(-found.scores, kind="stable"))
    # with +1 on the far side, torchvision's plain areas are those of BoxList's convention
    edges = found.boxes_xyxy + np.array([0, 0, 1, 1])
    kept = np.zeros(len(found), dtype=bool)
    for label in np.unique(found.labels):
        members = np.flatnonzero(found.labels == label)
        survivors = nms(
            torch.from_numpy(edges[members]), torch.from_numpy(found.scores[members]), nms_hbb
        )
        kept[members[survivors.numpy()]] = True
    found = found.select(kept)
    if found.corners is None:
        return found
    found.in_task1 = np.zeros(len(found), dtype=bool)
    for label in np.unique(found.labels):
        members = np.flatnonzero(found.labels == label)
        oriented = oriented_nms(found.corners[members], found.scores[members], nms_obb)
        found.in_task1[members[oriented]] = True
    return found


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
