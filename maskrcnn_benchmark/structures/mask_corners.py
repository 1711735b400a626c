"""From the masks of detections to oriented boxes."""

import cv2
import numpy as np
import torch

from maskrcnn_benchmark.structures.rotated_boxes import boxlist_to_edges, edges_to_corners


def masks_to_corners(
    mask_probs: np.ndarray, boxes_xyxy: np.ndarray, threshold: float = 0.5
) -> np.ndarray:
    """Return the smallest oriented box around the largest part of each mask.

    The outline is found between the mask's own cells, where the probability passes the threshold,
    and scaled to the box: no mask is ever as large as the image.

    Args:
        mask_probs: (N, M, M) probabilities over the boxes.
        boxes_xyxy: (N, 4) in the BoxList convention, both ends included.
        threshold: probability from which a pixel belongs to the object.

    Returns:
        (N, 4, 2) float64; the box's own corners where a mask is empty.
    """
    mask_probs = np.asarray(mask_probs, dtype=np.float32)
    boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
    corners = edges_to_corners(boxlist_to_edges(torch.from_numpy(boxes))).numpy()
    for number, probs in enumerate(mask_probs):
        outline = _outline(probs, threshold)
        if len(outline) < 3:
            continue
        start = corners[number, 0]
        scale = (corners[number, 2] - start) / probs.shape[::-1]
        rectangle = cv2.minAreaRect((outline * scale).astype(np.float32))
        corners[number] = cv2.boxPoints(rectangle) + start
    return corners


def _outline(probs: np.ndarray, threshold: float) -> np.ndarray:
    """Return points (K, 2) on the outline of a mask's largest part, in cells from its corner.

    Between the centres of neighbouring cells the probability is taken as linear; outside the mask
    it is 0, so that a full mask ends at the mask's border.
    """
    padded = np.pad(probs, 1)
    parts, labels, stats, _ = cv2.connectedComponentsWithStats(
        (padded >= threshold).astype(np.uint8), connectivity=8
    )
    if parts < 2:
        return np.empty((0, 2))
    part = labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    outline = []
    for step in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        outside = np.roll(padded, (-step[0], -step[1]), axis=(0, 1))
        rows, columns = np.nonzero(part & (outside < threshold))
        inside_value, outside_value = padded[rows, columns], outside[rows, columns]
        share = (inside_value - threshold) / (inside_value - outside_value)
        outline.append(np.stack([columns + share * step[1], rows + share * step[0]], axis=1))
    # centre of padded cell 1 is half a cell into the mask
    return np.clip(np.concatenate(outline) - 0.5, 0, probs.shape[0])
