"""What a detector found, in plain arrays, and how a model's prediction becomes that."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from maskrcnn_benchmark.dota.tiles import Window
from maskrcnn_benchmark.structures.polygons import polygon_areas

if TYPE_CHECKING:
    from maskrcnn_benchmark.structures.bounding_box import BoxList

LEAST_AREA = 0.01  # square pixels: an oriented detection of less is a line, no object


@dataclass
class Detections:
    """What a detector found in one image or tile.

    Attributes:
        boxes_xyxy: float64 (N, 4), pixels, BoxList's convention (width = x2 - x1 + 1).
        scores: float64 (N,).
        labels: int64 (N,), 1 for the first class.
        corners: float64 (N, 4, 2), edges without `+1`; None where orientation is not known.
        in_task1, in_task2: bool (N,), which of them are results of the oriented task and of the
            horizontal one; None: all. `merge_tiles` sets them where there are corners, since each
            task suppresses duplicates in its own way.
    """

    boxes_xyxy: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    corners: np.ndarray | None = None
    in_task1: np.ndarray | None = None
    in_task2: np.ndarray | None = None

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
            "in_task2": len(self) if self.in_task2 is None else len(self.in_task2),
        }
        if len(set(lengths.values())) > 1:
            raise ValueError(f"expected as many of each, got {lengths}")

    def __len__(self) -> int:
        return len(self.boxes_xyxy)

    @classmethod
    def empty(cls, with_corners: bool = False) -> "Detections":
        """Return what a detector found that found nothing."""
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
            None if self.in_task2 is None else self.in_task2[keep],
        )

    def moved(self, x: float, y: float, rate: float = 1.0) -> "Detections":
        """Tile to image: add the tile's offset (x, y), and divide by the tile's rate.

        Edges are divided: at rate 0.5 a box of the columns 3 ... 12 comes to 6 ... 25.
        """
        far = 1 / rate - 1  # of the far side, whose edge lies 1 further
        return Detections(
            (self.boxes_xyxy + np.array([x, y, x, y])) / rate + np.array([0, 0, far, far]),
            self.scores,
            self.labels,
            None if self.corners is None else (self.corners + np.array([x, y])) / rate,
            self.in_task1,
            self.in_task2,
        )


def to_detections(prediction: "BoxList", window: Window, rate: float = 1.0) -> Detections:
    """Bring a prediction on a window to the pixels of the image; its small masks become corners.

    Args:
        prediction: in any size of the window, on the CPU, with the fields "scores", "labels" and,
            where the model knows orientation, "corners" (N, 4, 2), or "mask": probabilities
            (N, 1, M, M) over the boxes.
        window: where the image, enlarged by the rate, shows what was predicted on.
        rate: of the window.

    Raises:
        ValueError: boxes without scores, or masks that are pasted into an image.
    """
    # here, so that those who only read and write result files need not wait for PyTorch
    import torch

    from maskrcnn_benchmark.structures.boxlist_ops import resize_edges
    from maskrcnn_benchmark.structures.mask_corners import masks_to_corners

    if not prediction.has_field("scores"):
        raise ValueError(
            "expected detections, got boxes without scores: the proposals of MODEL.RPN_ONLY can be "
            "evaluated on a COCO-format data set only"
        )
    size = (window.width, window.height)
    oriented = prediction.has_field("corners")
    found = resize_edges(prediction, size) if oriented else prediction.resize(size)
    found = found.convert("xyxy")
    boxes_xyxy = found.bbox.numpy()
    corners = None
    if oriented:
        corners = found.get_field("corners").float().numpy()
        keep = np.flatnonzero(polygon_areas(corners.astype(np.float64)) >= LEAST_AREA)
        found, boxes_xyxy, corners = found[torch.from_numpy(keep)], boxes_xyxy[keep], corners[keep]
    elif prediction.has_field("mask"):
        masks = prediction.get_field("mask")
        if masks.dtype == torch.bool:
            raise ValueError(
                "expected masks of probabilities over each box, got masks pasted into an image, "
                "which give no corners: set MODEL.ROI_MASK_HEAD.POSTPROCESS_MASKS to False"
            )
        corners = masks_to_corners(masks[:, 0].float().numpy(), boxes_xyxy)
    scores = found.get_field("scores").float().numpy()
    labels = found.get_field("labels").numpy()
    return Detections(boxes_xyxy, scores, labels, corners).moved(window.x0, window.y0, rate)
