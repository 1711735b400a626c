"""Operations on BoxLists: overlap, suppression, concatenation, validity."""

from collections.abc import Sequence
from typing import Any

import torch

from maskrcnn_benchmark.layers import nms as _box_nms
from maskrcnn_benchmark.layers.nms import nms_per_group
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.corners import Corners
from maskrcnn_benchmark.structures.crowd import get_policy, one_thread
from maskrcnn_benchmark.structures.pairwise_iou import PAIR_BYTES, blocks, pairwise_iou
from maskrcnn_benchmark.structures.rotated_boxes import boxlist_to_edges, edges_to_boxlist


def boxlist_nms(
    boxlist: BoxList, nms_thresh: float, max_proposals: int = -1, score_field: str = "scores"
) -> BoxList:
    """Drop the boxes that overlap a better one.

    Args:
        boxlist: boxes with scores.
        nms_thresh: IoU above which the worse box goes; <= 0: nothing is dropped.
        max_proposals: if > 0, how many of the best are kept at most.
        score_field: name of the field that holds the scores.

    Returns:
        the boxes that stay, by falling score.
    """
    if nms_thresh <= 0:
        return boxlist
    corners = boxlist.convert("xyxy")
    keep = _box_nms(corners.bbox, corners.get_field(score_field), nms_thresh)
    return boxlist[keep[:max_proposals] if max_proposals > 0 else keep]


def boxlist_nms_per_group(
    boxlist: BoxList,
    groups: torch.Tensor,
    nms_thresh: float,
    max_per_group: int = 0,
    score_field: str = "scores",
) -> BoxList:
    """Drop the boxes that overlap a better one of their group, in one call for all groups.

    Args:
        boxlist: N boxes with scores.
        groups: (N,) int64, >= 0, classes or pyramid levels for example.
        nms_thresh: IoU above which the worse box goes; <= 0: nothing is dropped.
        max_per_group: if > 0, how many of a group's best are kept at most.
        score_field: name of the field that holds the scores.

    Returns:
        the boxes that stay, by group, within a group by falling score.
    """
    if nms_thresh <= 0:
        return boxlist[groups.sort(stable=True).indices]
    boxes, scores = boxlist.convert("xyxy").bbox, boxlist.get_field(score_field)
    return boxlist[nms_per_group(boxes, scores, groups, nms_thresh, max_per_group)]


def remove_small_boxes(boxlist: BoxList, min_size: float) -> BoxList:
    """Keep the boxes whose width and height are both >= min_size pixels."""
    sides = boxlist.convert("xywh").bbox[:, 2:]
    return boxlist[(sides >= min_size).all(dim=1).nonzero().squeeze(1)]


def boxlist_iou(boxlist1: BoxList, boxlist2: BoxList) -> torch.Tensor:
    """Return the intersection over union of every pair, with the box convention's + 1.

    More rows than MODEL.CROWD.IOU_ROWS take the crowd path: the same numbers to the last bit, in
    blocks whose working memory is bounded (BLOCK_MB) beyond the result's.

    Args:
        boxlist1: N boxes.
        boxlist2: M boxes on the same image.

    Returns:
        (N, M) float32 on the boxes' device.

    Raises:
        RuntimeError: the image sizes differ.
    """
    if tuple(boxlist1.size) != tuple(boxlist2.size):
        raise RuntimeError(
            f"boxes must lie on images of one size, got {boxlist1.size} and {boxlist2.size}"
        )
    a, b = boxlist1.convert("xyxy").bbox, boxlist2.convert("xyxy").bbox
    policy = get_policy()
    if policy.mode == "off" or len(a) <= policy.iou_rows:
        return pairwise_iou(a, b)
    device = a.device
    if policy.mode == "cpu":
        a, b = a.cpu(), b.cpu()
    iou = a.new_empty((len(a), len(b)))
    with one_thread(a.device):
        for rows, columns in blocks(len(a), len(b), policy.step_bytes(a.device), PAIR_BYTES):
            iou[rows, columns] = pairwise_iou(a[rows], b[columns])
    return iou.to(device)


def valid_ground_truth(target: BoxList) -> torch.Tensor:
    """Return which ground-truth boxes can be matched at all.

    Args:
        target: N boxes.

    Returns:
        (N,) bool: False where x2 <= x1 or y2 <= y1, where a number is not finite, and where no
        pixel of the box lies on the image.
    """
    boxes = target.convert("xyxy").bbox
    x1, y1, x2, y2 = boxes.unbind(dim=1)
    width, height = target.size
    solid = (x2 > x1) & (y2 > y1) & boxes.isfinite().all(dim=1)
    return solid & (x2 >= 0) & (y2 >= 0) & (x1 <= width - 1) & (y1 <= height - 1)


def resize_edges(boxlist: BoxList, size: Sequence[Any]) -> BoxList:
    """Resize what an oriented model found, whose boxes come from edges (see rotated_boxes.py).

    BoxList.resize scales pixel indices: at twice the size the box (6, 18, 13, 21), of edges 6 .. 14
    and 18 .. 22, would become (12, 36, 26, 42); of edges 12 .. 28 and 36 .. 44 is (12, 36, 27, 43).

    Args:
        boxlist: boxes and fields.
        size: (width, height) in pixels.
    """
    resized = boxlist.convert("xyxy").resize(size)
    ratio_x, ratio_y = (
        float(new) / float(old) for new, old in zip(size, boxlist.size, strict=True)
    )
    x1, y1, x2, y2 = boxlist_to_edges(boxlist.convert("xyxy").bbox).unbind(dim=1)
    edges = torch.stack([x1 * ratio_x, y1 * ratio_y, x2 * ratio_x, y2 * ratio_y], dim=1)
    resized.bbox = edges_to_boxlist(edges)
    return resized


def cat_boxlist(bboxes: Sequence[BoxList]) -> BoxList:
    """Put boxes of one image into one list.

    Args:
        bboxes: lists of the same image size, mode and fields, at least one.

    Raises:
        ValueError: they differ in these, or there is none.
    """
    if not isinstance(bboxes, (list, tuple)) or not bboxes:
        raise ValueError(f"cat_boxlist needs a list of at least one BoxList, got {bboxes!r}")
    first = bboxes[0]
    for other in bboxes[1:]:
        same = tuple(other.size) == tuple(first.size) and other.mode == first.mode
        if not same or set(other.fields()) != set(first.fields()):
            raise ValueError(
                f"boxes to concatenate must agree in size, mode and fields, got {first} with "
                f"{sorted(first.fields())} and {other} with {sorted(other.fields())}"
            )
    joined = BoxList(_cat([b.bbox for b in bboxes]), first.size, first.mode)
    joined.image_name = first.image_name
    for name in first.fields():
        joined.add_field(name, _cat([b.get_field(name) for b in bboxes]))
    return joined


def _cat(tensors: Sequence[Any], dim: int = 0) -> Any:
    """Concatenate tensors, or Corners, without a copy of a single one."""
    first = tensors[0]
    if len(tensors) == 1:
        return first
    return Corners.cat(tensors) if isinstance(first, Corners) else torch.cat(list(tensors), dim)
