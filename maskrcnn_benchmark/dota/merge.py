"""Detections of an image's tiles become detections of the image."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torchvision.ops import nms

from maskrcnn_benchmark.structures.oriented_boxes import oriented_nms


@dataclass
class Detections:
    """What a detector found in one image or tile.

    Attributes:
        boxes_xyxy: float64 (N, 4), pixels, BoxList's convention (width = x2 - x1 + 1).
        scores: float64 (N,).
        labels: int64 (N,), 1 for the first class.
        corners: float64 (N, 4, 2), edges without `+1`; None where orientation is not known.
        in_task1: bool (N,), which of them are results of the oriented task; None: all that have
            corners. `merge_tiles` sets it, since the two tasks suppress duplicates each its way.
    """

    boxes_xyxy: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    corners: np.ndarray | None = None
    in_task1: np.ndarray | None = None

    def __post_init__(self) -> None:
        self.boxes_xyxy = np.asarray(self.boxes_xyxy, dtype=np.float64).reshape(-1, 4)
        self.scores = np.asarray(self.scores, dtype=np.float64)
        self.labels = np.asarray(self.labels, dtype=np.int64)
        if self.corners is not None:
            self.corners = np.asarray(self.corners, dtype=np.float64).reshape(-1, 4, 2)
        lengths = {
            "boxes_xyxy": len(self.boxes_xyxy),
            "scores": len(self.scores),
            "labels": len(self.labels),
            "corners": len(self) if self.corners is None else len(self.corners),
            "in_task1": len(self) if self.in_task1 is None else len(self.in_task1),
        }
        if len(set(lengths.values())) > 1:
            raise ValueError(f"expected as many of each, got {lengths}")

    def __len__(self) -> int:
        return len(self.boxes_xyxy)

    @classmethod
    def empty(cls, with_corners: bool = False) -> "Detections":
        """Nothing found."""
        corners = np.zeros((0, 4, 2)) if with_corners else None
        return cls(np.zeros((0, 4)), np.zeros(0), np.zeros(0), corners)

    def select(self, keep: np.ndarray) -> "Detections":
        """Keep the detections that an index or boolean array names, in its order."""
        return Detections(
            self.boxes_xyxy[keep],
            self.scores[keep],
            self.labels[keep],
            None if self.corners is None else self.corners[keep],
            None if self.in_task1 is None else self.in_task1[keep],
        )

    def moved(self, x: float, y: float) -> "Detections":
        """Tile to image: add the tile's offset (x, y) in pixels to every coordinate."""
        return Detections(
            self.boxes_xyxy + np.array([x, y, x, y]),
            self.scores,
            self.labels,
            None if self.corners is None else self.corners + np.array([x, y]),
            self.in_task1,
        )


def merge_tiles(tiles: Sequence[Detections], nms_hbb: float, nms_obb: float) -> Detections:
    """Join what overlapping tiles found and suppress, class by class, what was found twice.

    Boxes are suppressed by their IoU first. Where there are corners, oriented suppression then
    says which of the rest are results of the oriented task (`in_task1`): it is stricter as a rule
    and would cost the horizontal task true neighbours. Memory grows with N, not with N * N.

    Args:
        tiles: in the pixels of the whole image (`Detections.moved`).
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
    with_corners = [tile.corners is not None for tile in tiles]
    if any(with_corners) and not all(with_corners):
        raise ValueError("expected corners in all tiles or in none, got some with and some without")
    return Detections(
        np.concatenate([tile.boxes_xyxy for tile in tiles]),
        np.concatenate([tile.scores for tile in tiles]),
        np.concatenate([tile.labels for tile in tiles]),
        np.concatenate([tile.corners for tile in tiles]) if all(with_corners) else None,  # type: ignore[misc]
    )
