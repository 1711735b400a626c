"""From heat maps of keypoints to points in the image."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.keypoint import PersonKeypoints


class KeypointPostProcessor(nn.Module):
    """Add the keypoints to the detections.

    Args:
        keypointer: makes points of heat maps; default: Keypointer().
    """

    def __init__(self, keypointer: "Keypointer | None" = None):
        super().__init__()
        self.keypointer = keypointer or Keypointer()

    def forward(self, x: Tensor, boxes: list[BoxList]) -> list[BoxList]:
        """Return the detections with the field "keypoints", see attach.

        Args:
            x: logits [sum of boxes, K, M, M].
            boxes: detections, one BoxList per image.
        """
        return self.attach(*self.keypointer(x, boxes), boxes)

    def attach(self, points: Tensor, peaks: Tensor, boxes: list[BoxList]) -> list[BoxList]:
        """Return the detections with their keypoints.

        Args:
            points: [sum of boxes, K, 3].
            peaks: [sum of boxes, K], the height of each heat map's peak.
            boxes: detections, one BoxList per image.

        Returns:
            as given, with "keypoints": PersonKeypoints (N, K, 3) that have the field "logits"
            [N, K], the peaks.
        """
        counts = [len(b) for b in boxes]
        results = []
        for box, point, peak in zip(boxes, points.split(counts), peaks.split(counts), strict=True):
            keypoints = PersonKeypoints(point, box.size)
            keypoints.add_field("logits", peak)
            result = box.copy_with_fields(box.fields())
            result.add_field("keypoints", keypoints)
            results.append(result)
        return results


class Keypointer:
    """Find the points in the heat maps of the detections of any number of images.

    Args:
        padding: kept for callers that set it; without effect, as in the original.
    """

    def __init__(self, padding: int = 0):
        self.padding = padding

    def __call__(self, masks: Tensor, boxes: Sequence[BoxList] | BoxList) -> tuple[Tensor, Tensor]:
        """Return points [R, K, 3] (x, y, 1) and their logits [R, K], R being all boxes together.

        Args:
            masks: logits [R, K, M, M].
            boxes: one BoxList per image.
        """
        lists = [boxes] if isinstance(boxes, BoxList) else boxes
        rois = torch.cat([b.convert("xyxy").bbox for b in lists])
        arrays = (values.detach().float().cpu().numpy() for values in (masks, rois))
        points, peaks = map(torch.from_numpy, heatmaps_to_keypoints(*arrays))
        both = torch.cat([points, peaks[..., None]], dim=-1).to(masks.device)  # one copy
        return both[..., :3].contiguous(), both[..., 3].contiguous()


def heatmaps_to_keypoints(maps: np.ndarray, rois: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Enlarge each heat map to its box (bicubic) and take the highest pixel.

    A box of width 7.4 is 8 pixels of 0.925: pixel 2 is at 2.5 * 0.925 from the box's left side.

    Args:
        maps: float32 [R, K, M, M].
        rois: float32 [R, 4] xyxy, width = x2 - x1, taken as 1 pixel at least.

    Returns:
        float32 [R, K, 3] of x, y, 1, and float32 [R, K] of the enlarged maps' peaks.
    """
    count, number = maps.shape[:2]
    sides = np.maximum(rois[:, 2:] - rois[:, :2], 1)  # [R, 2], width and height
    pixels = np.ceil(sides)
    peaks = np.zeros((count, number), dtype=np.float32)
    places = np.zeros((count, number, 2), dtype=np.int64)
    for index, (width, height) in enumerate(pixels.astype(int).tolist()):
        heat = cv2.resize(
            maps[index].transpose(1, 2, 0), (width, height), interpolation=cv2.INTER_CUBIC
        )
        flat = heat.reshape(-1, number)  # [height * width, K]
        highest = flat.argmax(axis=0)
        peaks[index] = flat[highest, np.arange(number)]
        places[index] = np.stack([highest % width, highest // width], axis=1)
    points = np.ones((count, number, 3), dtype=np.float32)
    points[..., :2] = (places + 0.5) * (sides / pixels)[:, None] + rois[:, None, :2]
    return points, peaks


def make_roi_keypoint_post_processor(cfg) -> KeypointPostProcessor:
    """Build what turns heat maps into keypoints; nothing in the config changes it."""
    return KeypointPostProcessor(Keypointer())
