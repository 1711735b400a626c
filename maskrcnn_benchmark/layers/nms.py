"""Greedy non-maximum suppression, of all boxes or within groups (classes, pyramid levels)."""

import numpy as np
import torch
import torchvision
from torch import Tensor

_BOXES_AT_ONCE = 20_000  # torchvision keeps a bit per pair on a GPU: 50 MB


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Return which boxes stay, computed in float32 or better.

    Args:
        boxes: (N, 4) xyxy.
        scores: (N,)
        iou_threshold: a box is dropped if its IoU with a better kept one is greater.

    Returns:
        int64 indices of the kept boxes, by falling score.
    """
    if boxes.dtype.itemsize < 4:
        boxes = boxes.float()
    return torchvision.ops.nms(boxes, scores.to(boxes.dtype), iou_threshold)


def nms_per_group(
    boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float, most: int = 0
) -> Tensor:
    """Return which boxes stay when those of one group drop none of another.

    A CPU takes group after group. For a device the host would wait after each, so many groups go
    at once, moved apart in float64. The result is the same, unless the float32 rounding of an IoU's
    parts took it across the threshold.

    Args:
        boxes: (N, 4) xyxy.
        scores: (N,)
        groups: (N,) int64, >= 0.
        iou_threshold: see nms.
        most: how many boxes of a group are kept at most; 0: all.

    Returns:
        int64 indices of the kept boxes, by group, within a group by falling score.
    """
    order = groups.sort(stable=True).indices
    on_cpu = boxes.device.type == "cpu"
    suppress = _nms_of_one_group if on_cpu else _nms_of_groups
    kept = [
        rows[suppress(boxes[rows], scores[rows], groups[rows], iou_threshold, most)]
        for rows in _runs_of_groups(order, groups, 1 if on_cpu else _BOXES_AT_ONCE)
    ]
    return torch.cat(kept) if kept else order


def _runs_of_groups(order: Tensor, groups: Tensor, at_once: int) -> list[Tensor]:
    """Cut indices in the order of their groups between groups, into runs of up to `at_once`.

    A group that is larger than that is a run of its own.
    """
    if 0 < len(order) <= at_once:
        return [order]
    sizes: list[int] = []
    for size in groups.bincount().tolist():
        if sizes and sizes[-1] + size <= at_once:
            sizes[-1] += size
        else:
            sizes.append(size)
    return [run for run in order.split(sizes) if len(run)]


def _nms_of_one_group(
    boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float, most: int
) -> Tensor:
    kept = nms(boxes, scores, iou_threshold)
    return kept[:most] if most > 0 else kept


def _nms_of_groups(
    boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float, most: int
) -> Tensor:
    """Suppress all groups in one call, moved so far apart that boxes of two never overlap."""
    boxes = boxes.double()
    finite = torch.where(boxes.isfinite(), boxes, 0)
    distance = finite.amax() - finite.amin() + 1
    apart = boxes + (groups * distance)[:, None]
    kept = nms(apart, scores, _as_if_rounded_to_float32(iou_threshold))
    kept = kept[groups[kept].sort(stable=True).indices]
    if not 0 < most < len(kept):
        return kept
    group = groups[kept]
    rank = torch.arange(len(kept), device=kept.device) - torch.searchsorted(group, group)
    return kept[rank < most]


def _as_if_rounded_to_float32(threshold: float) -> float:
    """Return the float64 above which float32 rounds a number to one above the threshold.

    The IoU 3 / 10 is above 0.3 in float32, where it is 0.30000001, but not in float64.
    """
    below = np.float32(threshold)
    if float(below) > threshold:
        below = np.nextafter(below, np.float32(-np.inf))
    above = np.nextafter(below, np.float32(np.inf))
    return (float(below) + float(above)) / 2
