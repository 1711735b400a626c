"""What a detector found, in plain arrays."""

from dataclasses import dataclass

import numpy as np


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
